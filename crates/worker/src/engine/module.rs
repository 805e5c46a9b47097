//! Guests made ready to run: looked at, compiled or taken from the cache, linked once.

use std::sync::Arc;

use pumasi_types::{Ending, Hash};
use wasmparser::{Encoding, ExternalKind, MemoryType, Parser, Payload, TypeRef};
use wasmtime::{InstancePre, ModuleExport};

use super::Engine;
use super::settings::{
    CODE_BYTES_MAX, FUNCTION_BYTES_MAX, FUNCTIONS_MAX, GLOBALS_MAX, IMPORTS_MAX, MODULE_BYTES_MAX, TABLE_MAX,
    TABLES_MAX,
};
use crate::wasi::{self, Guest};

/// Bytes of one WebAssembly page.
const PAGE: u64 = 1 << 16;

/// Why a module cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Larger than any module may be.
    #[error("module too large: {what} is {found}, the most is {most}; split the program or strip it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// How large it may be.
        most: u64,
    },
    /// Not WebAssembly, cut off, or using a proposal that is not offered.
    #[error("module is not valid: {reason}; build it for wasm32-wasip1 without threads")]
    Invalid {
        /// What is wrong, as the validator says it.
        reason: String,
    },
    /// It needs something that is not offered.
    #[error(
        "module imports '{module}' '{name}', which is not offered; build it for wasm32-wasip1, which needs \
         {} only",
        wasi::MODULE
    )]
    Import {
        /// Where it imports from.
        module: String,
        /// What it imports.
        name: String,
    },
    /// It does not export what a WASI command must.
    #[error("module does not export {what}; build it as a WASI command, not as a library")]
    NotACommand {
        /// What is missing.
        what: &'static str,
    },
    /// This machine could not make it ready, though another might.
    #[error("this machine cannot load the module; free memory, or leave it to a larger or faster one")]
    Host {
        /// Why.
        source: wasmtime::Error,
    },
}

impl ModuleError {
    /// How a run of the module ends: [`Ending::BadModule`] when every worker would refuse it alike.
    pub fn ending(&self) -> Ending {
        match self {
            ModuleError::Host { .. } => Ending::Faulted,
            _ => Ending::BadModule,
        }
    }
}

/// A guest ready to run. Clones share it.
#[derive(Clone)]
pub struct Module {
    pub(super) inner: Arc<Ready>,
}

pub(super) struct Ready {
    hash: Hash,
    /// Memory that the guest has from its start, in bytes.
    pub(super) memory_min: u64,
    /// None when it needs more memory at its start than this machine lets any run have.
    pub(super) linked: Option<Linked>,
}

/// What starts an instance.
pub(super) struct Linked {
    pub(super) pre: InstancePre<Guest>,
    pub(super) memory: ModuleExport,
    pub(super) start: ModuleExport,
    /// Bytes of its code and data.
    size: usize,
}

impl Module {
    /// BLAKE3 of its WebAssembly.
    pub fn hash(&self) -> Hash {
        self.inner.hash
    }

    /// Bytes of memory that its code and data take.
    pub fn size(&self) -> usize {
        self.inner.linked.as_ref().map_or(0, |linked| linked.size)
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Module").field(&self.inner.hash).finish()
    }
}

impl Engine {
    /// Makes a module ready to run: checks it, then has it compiled or takes it from the cache. Blocks for as
    /// long as that takes.
    ///
    /// # Errors
    /// When it is too large or not valid, imports what is not offered, is no WASI command, or this machine
    /// cannot load it; see [`ModuleError::ending`].
    pub fn load(&self, wasm: &[u8]) -> Result<Module, ModuleError> {
        bounded("its file in bytes", wasm.len() as u64, MODULE_BYTES_MAX as u64)?;
        let memory_min = look_at(wasm)?;
        let hash = Hash::of(wasm);
        if memory_min > self.inner.memory_max {
            return Ok(Module { inner: Arc::new(Ready { hash, memory_min, linked: None }) });
        }
        let engine = &self.inner.wasmtime;
        let compiled = match self.inner.cache.as_ref().and_then(|cache| cache.get(hash, engine)) {
            Some(compiled) => compiled,
            None => {
                let compiled = self.inner.compiler.compile(engine, self.inner.reservation, wasm)?;
                if let Some(cache) = &self.inner.cache {
                    cache.put(hash, &compiled);
                }
                compiled
            }
        };
        let export = |name| compiled.get_export_index(name).ok_or(ModuleError::NotACommand { what: name });
        let (memory, start) = (export("memory")?, export("_start")?);
        let is_command = compiled.get_export("_start").and_then(|start| {
            let start = start.func()?.clone();
            Some(start.params().len() == 0 && start.results().len() == 0)
        });
        if is_command != Some(true) {
            return Err(ModuleError::NotACommand { what: "_start without parameters and results" });
        }
        // Names were looked at before; what can still differ is the type of an import.
        let pre = self
            .inner
            .linker
            .instantiate_pre(&compiled)
            .map_err(|error| ModuleError::Invalid { reason: format!("{error:#}") })?;
        let range = compiled.image_range();
        let size = range.end as usize - range.start as usize;
        let linked = Some(Linked { pre, memory, start, size });
        Ok(Module { inner: Arc::new(Ready { hash, memory_min, linked }) })
    }
}

fn bounded(what: &'static str, found: u64, most: u64) -> Result<(), ModuleError> {
    if found > most { Err(ModuleError::TooLarge { what, found, most }) } else { Ok(()) }
}

/// Looks at sizes, imports and exports without compiling anything; the memory it starts with, in bytes.
fn look_at(wasm: &[u8]) -> Result<u64, ModuleError> {
    let invalid = |error: wasmparser::BinaryReaderError| ModuleError::Invalid { reason: error.to_string() };
    let mut memory_min = 0;
    let (mut has_memory, mut has_start) = (false, false);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(ModuleError::Invalid { reason: "it is a component, not a module".to_owned() });
            }
            Payload::ImportSection(section) => {
                bounded("the number of its imports", section.count().into(), IMPORTS_MAX.into())?;
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    check_import(import.module, import.name, import.ty)?;
                }
            }
            Payload::FunctionSection(section) => {
                bounded("the number of its functions", section.count().into(), FUNCTIONS_MAX.into())?;
            }
            Payload::CodeSectionStart { size, .. } => {
                bounded("its code in bytes", size.into(), CODE_BYTES_MAX.into())?;
            }
            Payload::CodeSectionEntry(body) => {
                bounded("a function in bytes", body.range().len() as u64, FUNCTION_BYTES_MAX as u64)?;
            }
            Payload::TableSection(section) => {
                bounded("the number of its tables", section.count().into(), TABLES_MAX.into())?;
                for table in section {
                    bounded("a table", table.map_err(invalid)?.ty.initial, TABLE_MAX as u64)?;
                }
            }
            Payload::GlobalSection(section) => {
                bounded("the number of its globals", section.count().into(), GLOBALS_MAX.into())?;
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let MemoryType { shared, initial, .. } = memory.map_err(invalid)?;
                    if shared {
                        return Err(ModuleError::Invalid { reason: "its memory is shared".to_owned() });
                    }
                    memory_min = initial.saturating_mul(PAGE);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    match (export.name, export.kind) {
                        ("memory", ExternalKind::Memory) => has_memory = true,
                        ("_start", ExternalKind::Func) => has_start = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match (has_memory, has_start) {
        (false, _) => Err(ModuleError::NotACommand { what: "memory" }),
        (_, false) => Err(ModuleError::NotACommand { what: "_start" }),
        _ => Ok(memory_min),
    }
}

/// Whether an import is a function of WASI preview 1.
fn check_import(module: &str, name: &str, kind: TypeRef) -> Result<(), ModuleError> {
    if module == wasi::MODULE && wasi::OFFERED.contains(&name) && matches!(kind, TypeRef::Func(_)) {
        return Ok(());
    }
    let shown = |text: &str| text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    Err(ModuleError::Import { module: shown(module), name: shown(name) })
}
