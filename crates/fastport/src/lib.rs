//! Framed TCP sessions.
