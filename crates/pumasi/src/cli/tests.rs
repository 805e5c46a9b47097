//! The help of each command as it is shown, and command lines that are taken or refused.

use clap::CommandFactory;

use super::*;
