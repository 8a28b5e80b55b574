//! What a provider says of itself.

use fastport_io::{AsyncIoProvider, Backend, Feature, ProviderConfig};

use crate::rig::Rig;

pub(crate) fn the_backend_and_its_depths_are_told<P: AsyncIoProvider>(config: &ProviderConfig) {
    let provider = P::open(config).unwrap();
    let info = provider.info();
    assert!(fastport_io::COMPILED.contains(&info.backend));
    assert!(std::any::type_name::<P>().to_lowercase().contains(info.backend.name()));
    let is_shrunk = info.notes.iter().any(|note| note.contains("ulimit -l"));
    assert!(info.queue_depth >= config.queue_depth || is_shrunk, "a smaller queue has its reason");
    assert!(info.completion_depth > 0);
    assert_eq!(info.max_operations, config.max_operations);
}

pub(crate) fn features_are_found_by_name_in_any_case<P: AsyncIoProvider>(config: &ProviderConfig) {
    let provider = P::open(config).unwrap();
    let info = provider.info();
    let all = [
        (Feature::BufferRegistration, "bufferregistration"),
        (Feature::FixedFileSet, "FIXEDFILESET"),
        (Feature::Batching, "Batching"),
        (Feature::ZeroCopySend, "ZeroCopySend"),
        (Feature::MultishotAccept, "MultishotAccept"),
        (Feature::MultishotReceive, "MultishotReceive"),
        (Feature::BufferRing, "BufferRing"),
        (Feature::DeferredTaskWork, "DeferredTaskWork"),
    ];
    for (feature, name) in all {
        assert_eq!(info.supports(name), info.features.has(feature), "{name}");
    }
    assert!(!info.supports("Teleportation"));
    assert!(!info.supports(""));
}

pub(crate) fn a_feature_that_was_switched_off_is_not_claimed<P: AsyncIoProvider>(config: &ProviderConfig) {
    let provider = P::open(config).unwrap();
    let (info, wanted) = (provider.info(), &config.io_uring);
    let allowed = [
        (Feature::DeferredTaskWork, wanted.defer_taskrun && wanted.single_issuer),
        (Feature::MultishotAccept, wanted.multishot_accept),
        (Feature::BufferRing, wanted.buffer_ring),
        (Feature::MultishotReceive, wanted.multishot_receive && wanted.buffer_ring),
        (Feature::BufferRegistration, wanted.fixed_buffers),
        (Feature::FixedFileSet, wanted.fixed_files),
        (Feature::ZeroCopySend, wanted.zero_copy_send_bytes.is_some()),
        (Feature::Batching, info.backend != Backend::Epoll || config.epoll.batched_sends),
    ];
    for (feature, allowed) in allowed {
        assert!(allowed || !info.features.has(feature), "{feature:?} was switched off; {:?}", info.features);
    }
}

/// A rung that is there for the asking is stood on, or its tests would test another one.
pub(crate) fn a_feature_that_was_asked_for_is_there_or_missed_in_a_note<P: AsyncIoProvider>(config: &ProviderConfig) {
    let provider = P::open(config).unwrap();
    let info = provider.info();
    let rungs = [
        (Backend::IoUring, config.io_uring.fixed_files, Feature::FixedFileSet, "sparse registered files (5.19)"),
        (Backend::Epoll, config.epoll.batched_sends, Feature::Batching, "io_submit"),
    ];
    for (backend, is_wanted, feature, call) in rungs {
        let is_missed = info.notes.iter().any(|note| note.contains(call));
        assert!(info.backend != backend || !is_wanted || is_missed || info.features.has(feature), "{info:?}");
    }
}

/// What a refused feature would do is done another way, so a note is all that may differ.
pub(crate) fn a_note_is_a_sentence<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    assert!(rig.provider.info().notes.iter().all(|note| note.contains(' ')), "{:?}", rig.provider.info().notes);
    let (client, server) = rig.pair();
    rig.assert_connected(client, server);
}
