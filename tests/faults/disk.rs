//! A disk that is full, and a file that is damaged.
