//! Why a service could not start or a message could not be sent.

/// Why a service could not start. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of range, or does not fit another one.
    #[error("invalid option: {0}")]
    Options(String),
    /// The provider, or a listener, could not be set up.
    #[error(transparent)]
    Io(#[from] fastport_io::Error),
    /// The system refused a thread.
    #[error("cannot start thread {name}: {source}")]
    Thread {
        /// The name of the thread.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a message was not queued. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer reads too slowly: the session's send queue is full, or a mailbox on the way to it. Under
    /// [`Overflow::Refuse`](crate::Overflow::Refuse) the handler's `writable` tells when to go on.
    #[error("the send queue is full")]
    Full,
    /// The session is closed, or is being closed.
    #[error("the session is closed")]
    Closed,
    /// The payload is larger than the framer's maximum. No later attempt will succeed.
    #[error("the payload is larger than the framer's maximum")]
    TooLarge,
}

impl From<crate::PayloadTooLarge> for SendError {
    fn from(_: crate::PayloadTooLarge) -> Self {
        Self::TooLarge
    }
}
