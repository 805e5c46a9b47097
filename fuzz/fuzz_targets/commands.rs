//! Requests of log entries, applied to a state in which they can do something: every invariant holds, and
//! doing the same again makes the same state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_core::{Command, Request, Role, Roles, State, decode_requests, encode_request, encode_state};
use pumasi_types::{AccountId, Amount, Currency, Hash, Time};

/// An operator, and two accounts with every role and some money.
fn prepared() -> State {
    let mut state = State::new();
    let open = |n: u8| Command::OpenAccount {
        name: format!("account{n}"),
        roles: Roles::from_iter(Role::ALL),
        token: Hash::of(&[n]),
    };
    let (currency, amount) = (Currency::CREDIT, Amount(1_000_000_000));
    let issue = |n: u64| Command::Issue { to: AccountId(n), currency, amount };
    let commands = [open(1), open(2), open(3), issue(2), issue(3)];
    let requests = commands.map(|command| Request { caller: State::SYSTEM, id: None, command });
    state.apply(Time(1_000_000_000), &requests);
    state
}

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else { return };
    // The version byte is always the same: no bytes of the input are spent on it.
    let version = {
        let mut entry = Vec::new();
        let command = Command::Tick;
        encode_request(&mut entry, &Request { caller: State::SYSTEM, id: None, command });
        entry[0]
    };
    let Ok(requests) = decode_requests(&[&[version], data].concat()) else { return };
    let (mut one, mut two) = (prepared(), prepared());
    for (n, request) in requests.iter().enumerate() {
        let time = Time(2_000_000_000 + (n as u64) * u64::from(*step) * 60_000_000_000);
        let request = std::slice::from_ref(request);
        let (first, second) = (one.apply(time, request), two.apply(time, request));
        assert_eq!(first.answers, second.answers);
        one.sanity_check();
    }
    assert_eq!(encode_state(&one), encode_state(&two));
});
