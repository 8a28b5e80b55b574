//! Completion-based socket I/O.
