//! From the text of `--backend` to a backend that runs here.

use fastport_io::{Backend, Choice, Error, ProviderConfig, Selection};

use crate::failure::{Failure, Result};

/// The backend that `name` stands for, after it was set up once to see that it works. Better ones that `auto` had to pass
/// over are logged with their reasons.
///
/// # Errors
/// If there is no such backend, or it does not run here.
pub(crate) fn choose(name: &str, config: &ProviderConfig) -> Result<Backend> {
    let choice: Choice = name.parse()?;
    match fastport_io::select(choice, config) {
        Ok(selection) => Ok(announced(&selection)),
        Err(error) => Err(refused(&error)),
    }
}

/// As [`choose`], but a backend that does not run here is replaced by the best that does, with a warning.
///
/// # Errors
/// If there is no such backend, or none runs here.
pub(crate) fn choose_or_fall_back(name: &str, config: &ProviderConfig) -> Result<Backend> {
    let choice: Choice = name.parse()?;
    let reason = match fastport_io::select(choice, config) {
        Ok(selection) => return Ok(announced(&selection)),
        Err(reason) => reason,
    };
    // Not `Choice::Auto`: the environment variable that it obeys may name the backend that has just failed.
    for backend in fastport_io::supported() {
        if fastport_io::select(Choice::Only(backend), config).is_ok() {
            tracing::warn!("{reason}; falling back to {backend}");
            return Ok(backend);
        }
    }
    Err(Failure::new(format!("{reason}; no other backend runs here either")))
}

/// What is said of a backend that does not run here: the reason with its remedy, and the backends that do.
pub(crate) fn refused(error: &Error) -> Failure {
    Failure::new(format!("{error}; {}", remedy()))
}

fn announced(selection: &Selection) -> Backend {
    for (backend, reason) in &selection.passed_over {
        tracing::warn!("{backend} is not used: {reason}; using {}", selection.backend);
    }
    selection.backend
}

fn remedy() -> String {
    let names: Vec<&str> = fastport_io::supported().into_iter().map(Backend::name).collect();
    match names.as_slice() {
        [] => "no backend runs here; 'fastport doctor' tells why".to_owned(),
        names => format!("these run here: --backend {}; 'fastport doctor' tells what to change", names.join(" or ")),
    }
}
