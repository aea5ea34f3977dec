"""The upload role: committed episodes become WebDataset shards with parquet metadata and a card, each exactly once."""
