//! Arguments, environment and signals.

use super::abi::{Answer, Errno};
use super::{Call, ENTRY_FUEL, Halt};

/// Stores each text with a NUL after it at `bytes`, and the list of their addresses at `list`.
fn put_texts(call: &mut Call<'_>, texts: &[String], list: u32, bytes: u32) -> Answer {
    let size: u64 = texts.iter().map(|text| text.len() as u64 + 1).sum();
    call.guest.spend(texts.len() as u64 * ENTRY_FUEL)?;
    call.guest.spend_bytes(size)?;
    let mut at = u64::from(bytes);
    let mut entry = u64::from(list);
    for text in texts {
        let address = u32::try_from(at).map_err(|_| Errno::Fault)?;
        call.memory.put_u32(u32::try_from(entry).map_err(|_| Errno::Fault)?, address)?;
        call.memory.put(address, text.as_bytes())?;
        at += text.len() as u64;
        call.memory.put(u32::try_from(at).map_err(|_| Errno::Fault)?, &[0])?;
        (at, entry) = (at + 1, entry + 4);
    }
    Ok(())
}

fn put_sizes(call: &mut Call<'_>, (count, size): (usize, usize), count_to: u32, size_to: u32) -> Answer {
    call.memory.put_u32(count_to, u32::try_from(count).map_err(|_| Errno::Overflow)?)?;
    call.memory.put_u32(size_to, u32::try_from(size).map_err(|_| Errno::Overflow)?)?;
    Ok(())
}

fn sizes(texts: &[String]) -> (usize, usize) {
    (texts.len(), texts.iter().map(|text| text.len() + 1).sum())
}

pub(super) fn args_get(call: &mut Call<'_>, list: u32, bytes: u32) -> Answer {
    let args = std::mem::take(&mut call.guest.spec.args);
    let answer = put_texts(call, &args, list, bytes);
    call.guest.spec.args = args;
    answer
}

pub(super) fn args_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Answer {
    let sizes = sizes(&call.guest.spec.args);
    put_sizes(call, sizes, count, size)
}

pub(super) fn environ_get(call: &mut Call<'_>, list: u32, bytes: u32) -> Answer {
    let env = std::mem::take(&mut call.guest.spec.env);
    let answer = put_texts(call, &env, list, bytes);
    call.guest.spec.env = env;
    answer
}

pub(super) fn environ_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Answer {
    let sizes = sizes(&call.guest.spec.env);
    put_sizes(call, sizes, count, size)
}

pub(super) fn raise(_: &mut Call<'_>, signal: u32) -> Answer {
    Err(Halt::Raise(signal).into())
}
