//! The worker link: gRPC messages and service generated from `proto/worker.proto`.

#![allow(missing_docs, clippy::all, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/pumasi.worker.v1.rs"));
