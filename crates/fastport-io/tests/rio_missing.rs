//! A system without Registered I/O, which Wine is: the choice is refused with a remedy, and `auto` takes the next best.
#![cfg(windows)]

use fastport_io::{AsyncIoProvider, Backend, Choice, ErrorCode, ProviderConfig, Rio, is_supported, select};

/// On Windows proper there is nothing to see here.
fn reason() -> Option<fastport_io::Error> {
    Rio::open(&ProviderConfig::default()).err()
}

#[test]
fn opening_fails_with_what_to_do() {
    let Some(error) = reason() else { return };
    assert_eq!(error.code(), ErrorCode::PlatformNotSupported);
    assert!(error.to_string().contains("use the backend 'iocp'"), "{error}");
    assert_eq!(is_supported(Backend::Rio).unwrap_err().code(), ErrorCode::PlatformNotSupported);
}

#[test]
fn the_explicit_choice_is_refused_and_auto_passes_it_over_with_the_reason() {
    let Some(error) = reason() else { return };
    let config = ProviderConfig::default();
    let refused = select(Choice::Only(Backend::Rio), &config).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PlatformNotSupported);
    let selection = select(Choice::Auto, &config).unwrap();
    assert_eq!(selection.backend, Backend::Iocp);
    assert_eq!(selection.passed_over.len(), 1);
    assert_eq!(selection.passed_over[0].0, Backend::Rio);
    assert!(selection.to_string().contains(&error.to_string()), "{selection}");
}
