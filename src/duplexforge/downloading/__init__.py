"""The download role and its seeding: from a source (file, folder, bucket, feed, channel, list, URL) to a committed raw episode.

``plan`` tells what work there is, ``sources`` turns what a person types into tasks, ``role`` does one task and
``expand`` the tasks that are whole feeds.
"""
