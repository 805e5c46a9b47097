//! The worker link: gRPC messages and service generated from `proto/worker.proto`.

#![allow(missing_docs, clippy::all, unreachable_pub)]

tonic::include_proto!("pumasi.worker.v1");
