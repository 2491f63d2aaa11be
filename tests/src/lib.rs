//! Nothing yet but a place for the harness that starts real servers; the tests are in `it/`.
