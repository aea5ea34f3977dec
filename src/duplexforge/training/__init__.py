"""Training: recipes, the one loop that runs them, what it saves, and the trainers it drives."""
