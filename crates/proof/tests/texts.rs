//! Notes, keys, checkpoints, receipts, policies, witnesses and rotations.

use proptest::prelude::*;
use pumasi_proof::{
    AddCheckpoint, Checkpoint, Note, NoteError, NoteSignature, Policy, PolicyError, ProofFile, Rotation,
    Rotations, SignerKey, TreeHash, Use, VerifierKey, WitnessRefusal,
};

const ORIGIN: &str = "example.com/log";

fn log_key(seed: u8) -> SignerKey {
    SignerKey::from_seed(ORIGIN, Use::Note, [seed; 32]).unwrap()
}

fn witness_key(seed: u8) -> SignerKey {
    SignerKey::from_seed(&format!("witness.example/{seed}"), Use::Cosignature, [seed; 32]).unwrap()
}

fn root(seed: u8) -> TreeHash {
    TreeHash::of_leaf(&[seed])
}

fn checkpoint(size: u64, root: TreeHash) -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size, root, extensions: vec!["ext 1".to_owned()] }
}

fn signed(checkpoint: &Checkpoint, keys: &[&SignerKey]) -> Note {
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    keys.iter().for_each(|key| note.add(key.sign(note.text(), 1_700_000_000)));
    note
}

#[test]
fn keys_and_notes_are_those_of_gos_documentation() {
    // From the documentation of golang.org/x/mod/sumdb/note.
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let whole = format!(
        "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    let key: VerifierKey = vkey.parse().unwrap();
    assert_eq!(key.to_string(), vkey);
    let signer = SignerKey::from_secret(skey).unwrap();
    assert_eq!((signer.verifier(), signer.to_secret().as_str()), (&key, skey));
    let note = Note::parse(&whole).unwrap();
    assert_eq!((note.text(), note.to_string()), (text, whole.clone()));
    assert_eq!(note.verify([&key]).unwrap()[0].key, key);
    let mut again = Note::new(text).unwrap();
    again.add(signer.sign(text, 0));
    assert_eq!(again.to_string(), whole);
}

#[test]
fn cosignatures_are_those_of_the_specification() {
    // The example of tlog-cosignature: its checkpoint, and a cosignature at 1679315147.
    let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let parsed = Note::parse(note).unwrap();
    assert_eq!(parsed.to_string(), note);
    assert_eq!(Checkpoint::parse(parsed.text()).unwrap().size, 20_852_163);
    let cosignature = &parsed.signatures()[1];
    assert_eq!(cosignature.bytes[..8], 1_679_315_147_u64.to_be_bytes(), "the time is in front");
    assert_eq!(cosignature.bytes.len(), 8 + 64);
    // Ours has the same form, and binds the time.
    let key = witness_key(1);
    let mut signature = key.sign(parsed.text(), 5);
    assert_eq!(key.verifier().check(parsed.text(), &signature).unwrap().time_s, Some(5));
    signature.bytes[7] = 6;
    assert_eq!(key.verifier().check(parsed.text(), &signature), None);
}

#[test]
fn a_note_is_believed_by_known_keys_alone() {
    let (known, other) = (log_key(1), log_key(2));
    let note = signed(&checkpoint(7, root(1)), &[&other, &known]);
    assert_eq!(note.verify([known.verifier()]).unwrap().len(), 1);
    assert_eq!(
        signed(&checkpoint(7, root(1)), &[&other]).verify([known.verifier()]),
        Err(NoteError::NobodyKnown { signatures: 1 })
    );
    let forged = note.to_string().replace("\n7\n", "\n8\n");
    let forged = Note::parse(&forged).unwrap();
    assert!(matches!(forged.verify([known.verifier()]), Err(NoteError::WrongSignature { .. })));
    // A known key that signed wrongly condemns the note, whoever else signed it.
    let mut half = Note::new(note.text()).unwrap();
    half.add(known.sign("other text\n", 0));
    half.add(other.sign(half.text(), 0));
    assert!(half.verify([other.verifier(), known.verifier()]).is_err());
}

#[test]
fn malformed_texts_are_refused() {
    let notes = [
        "",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n— name QUJDREU=",
        "text\n\n- name QUJDREU=\n",
        "text\n\n— na+me QUJDREU=\n",
        "text\n\n—  QUJDREU=\n",
        "text\n\n— name QUJDRE=\n",
        "text\n\n— name QUJDRA==\n",
        "text\n\n— name QUJDREU\n",
        "te\txt\n\n— name QUJDREU=\n",
        "text\n\n— name QUJDREU=\nmore\n",
    ];
    for note in notes {
        assert!(Note::parse(note).is_err(), "{note:?}");
    }
    assert!(Note::parse("text\n\n— name QUJDREU=\n").is_ok());
    let good = "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert!(Checkpoint::parse(good).is_ok());
    for (from, to) in [
        ("o\n", "\n"),
        ("\n1\n", "\n01\n"),
        ("\n1\n", "\n+1\n"),
        ("\n1\n", "\n\n"),
        ("2I=\n", "2I=\n\n"),
        ("2I=\n", "2I="),
        ("2I=\n", "2I\n"),
        ("2I=", "2J="),
        ("\n1\n", "\n0\n"),
        ("\n1\n", "\n18446744073709551616\n"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
    let key = log_key(1).verifier().to_string();
    for bad in [
        key.replace("log", "lag"),
        key.replace("+A", "+B"),
        key.replace('+', " "),
        format!("{key}="),
        key[..20].to_owned(),
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    assert!(SignerKey::from_seed("with space", Use::Note, [0; 32]).is_err());
}

#[test]
fn proof_files_read_what_they_wrote_and_nothing_else() {
    let note = signed(&checkpoint(2, TreeHash::of_node(&root(1), &root(2))), &[&log_key(1)]);
    let file = ProofFile { extra: Some(vec![1]), index: 1, hashes: vec![root(1)], checkpoint: note };
    let text = file.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra AQ==\nindex 1\n"), "{text}");
    assert_eq!(ProofFile::parse(&text).unwrap(), file);
    let claimed = file.claimed().unwrap();
    file.verify_leaf(root(2), &claimed).unwrap();
    assert!(file.verify_leaf(root(1), &claimed).is_err());
    let plain = ProofFile { extra: None, ..file };
    assert_eq!(ProofFile::parse(&plain.to_string()).unwrap(), plain);
    for (from, to) in
        [("@v1", "@v2"), ("extra ", "extra"), ("index 1", "index 01"), ("index 1\n", ""), ("\n\n", "\n")]
    {
        assert!(ProofFile::parse(&text.replacen(from, to, 1)).is_err(), "{from:?} to {to:?}");
    }
}

#[test]
fn policies_ask_for_the_quorum_that_they_name() {
    let log = log_key(1);
    let w: Vec<SignerKey> = (1..=5).map(witness_key).collect();
    let text = format!(
        "# two of ours and one of theirs\nlog {} https://example.com/log\n\nwitness X1 {}\n\twitness X2  {}\nwitness X3 {} https://x3\n\
         group X 2 X1 X2 X3\nwitness Y1 {}\nwitness Y2 {}\ngroup Y any Y1 Y2\ngroup both all X Y\nquorum both\n",
        log.verifier(),
        w[0].verifier(),
        w[1].verifier(),
        w[2].verifier(),
        w[3].verifier(),
        w[4].verifier()
    );
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let accepts = |who: &[usize]| {
        let keys: Vec<&SignerKey> = [&log].into_iter().chain(who.iter().map(|i| &w[*i])).collect();
        policy.accept(&signed(&checkpoint(3, root(1)), &keys))
    };
    assert_eq!(accepts(&[0, 2, 4]).unwrap().witnesses.len(), 3);
    for too_few in [&[][..], &[0, 1, 2], &[0, 3, 4], &[3]] {
        assert!(matches!(accepts(too_few), Err(PolicyError::NoQuorum { size: 3, .. })), "{too_few:?}");
    }
    let mut forged = signed(&checkpoint(3, root(1)), &[&log, &w[0], &w[1], &w[3]]);
    forged.add(w[4].sign("another text\n", 0));
    assert!(matches!(policy.accept(&forged), Err(PolicyError::NotSigned { .. })));
    let other = Checkpoint { origin: "example.com/other".to_owned(), ..checkpoint(3, root(1)) };
    assert!(matches!(policy.accept(&signed(&other, &[&log])), Err(PolicyError::UnknownLog { .. })));
    let none = Policy::parse(format!("log {}\nquorum none", log.verifier()).as_bytes()).unwrap();
    assert!(none.accept(&signed(&checkpoint(3, root(1)), &[&log])).is_ok());
}

#[test]
fn bad_policies_say_which_line() {
    let (log, witness) = (log_key(1).verifier().to_string(), witness_key(1).verifier().to_string());
    let cases = [
        (String::new(), "no line 'quorum"),
        ("quorum X".to_owned(), "line 1: 'X' is not defined"),
        ("quorum none\nquorum none".to_owned(), "line 2: there is a quorum"),
        (format!("log {witness}\nquorum none"), "line 1: a log needs"),
        (format!("witness W {log}\nquorum W"), "line 1: a witness needs"),
        (format!("log {log}\nlog {log}\nquorum none"), "line 2: this key is there"),
        (format!("witness W {witness}\nwitness V {witness}\nquorum W"), "line 2: this key is there"),
        (format!("witness W {witness}\ngroup G 2 W\nquorum G"), "line 2: the threshold"),
        (format!("witness W {witness}\ngroup G 0 W\nquorum G"), "line 2: the threshold"),
        (format!("witness W {witness}\ngroup G all\nquorum G"), "line 2: the threshold"),
        (format!("witness W {witness}\ngroup G all W\ngroup H all W\nquorum H"), "line 3: 'W' is a member"),
        (format!("witness W {witness}\ngroup W all W\nquorum W"), "line 2: 'W' is defined"),
        (format!("witness none {witness}\nquorum none"), "line 1: 'none' cannot"),
        ("\u{7}".to_owned(), "line 1: it has control"),
        ("hello".to_owned(), "line 1: it is none of"),
    ];
    for (text, expected) in cases {
        let error = Policy::parse(text.as_bytes()).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_witness_agrees_to_continuations_alone() {
    let (log, stranger) = (log_key(1), log_key(2));
    let (one, two) = (root(1), TreeHash::of_node(&root(1), &root(2)));
    let ask = |old, proof: Vec<TreeHash>, size, root, key: &SignerKey| {
        let request = AddCheckpoint { old, proof, checkpoint: signed(&checkpoint(size, root), &[key]) };
        AddCheckpoint::parse(&request.to_string()).expect("a request reads what it wrote")
    };
    let known = [log.verifier().clone()];
    let seen_one = |origin: &str| (origin == ORIGIN).then_some((1, one));
    let grow = ask(1, vec![root(2)], 2, two, &log);
    assert_eq!(grow.check(&known, seen_one).unwrap().size, 2);
    assert!(ask(0, vec![], 2, two, &log).check(&known, |_| None).is_ok());
    assert!(ask(1, vec![], 1, one, &log).check(&known, seen_one).is_ok(), "the same again");
    let refused = [
        (grow.check([], seen_one), 404),
        (ask(1, vec![root(2)], 2, two, &stranger).check(&known, seen_one), 403),
        (ask(3, vec![], 2, two, &log).check(&known, seen_one), 400),
        (ask(0, vec![], 2, two, &log).check(&known, seen_one), 409),
        (ask(1, vec![], 1, root(3), &log).check(&known, seen_one), 409),
        (ask(1, vec![root(3)], 2, two, &log).check(&known, seen_one), 422),
        (ask(0, vec![root(3)], 2, two, &log).check(&known, |_| None), 422),
    ];
    for (i, (answer, status)) in refused.into_iter().enumerate() {
        assert_eq!(answer.expect_err("refused").status(), status, "case {i}");
    }
    assert_eq!(
        ask(0, vec![], 2, two, &log).check(&known, seen_one),
        Err(WitnessRefusal::Conflict { size: 1 })
    );
    for bad in ["", "old 1\n", "old 01\n\n", "new 1\n\nx\n", "old 1\nAAAA\n\nx\n"] {
        assert!(AddCheckpoint::parse(bad).is_err(), "{bad:?}");
    }
    let many = format!("old 1\n{}\n{}", format!("{one}\n").repeat(64), signed(&checkpoint(2, two), &[&log]));
    assert!(AddCheckpoint::parse(&many).is_err(), "64 hashes are too many");
}

#[test]
fn trust_follows_rotations_forward() {
    let keys: Vec<SignerKey> = (1..=4).map(log_key).collect();
    let chain: Vec<Rotation> =
        keys.windows(2).map(|pair| Rotation::make(&pair[0], &pair[1]).unwrap()).collect();
    let rotations = Rotations(chain);
    let read = Rotations::parse(&rotations.to_string()).unwrap();
    assert_eq!(read, rotations);
    assert_eq!(Rotations::parse("").unwrap(), Rotations::default());
    let names = |from: usize| read.follow(keys[from].verifier()).len();
    assert_eq!([names(0), names(1), names(3)], [4, 3, 1]);
    assert_eq!(read.follow(log_key(9).verifier()).len(), 1, "a stranger is no way in");
    // A note that only the new key signed leads nowhere.
    let text = rotations.0[0].to_string();
    let (body, lines) = text.split_once("\n\n").unwrap();
    let [old, new] = lines.lines().collect::<Vec<_>>().try_into().unwrap();
    for one in [old, new] {
        assert!(Rotation::parse(&format!("{body}\n\n{one}\n")).is_err());
    }
    assert!(
        Rotations::parse(&text.replace(&keys[1].verifier().to_string(), &keys[2].verifier().to_string()))
            .is_err()
    );
    assert!(Rotation::make(&keys[0], &keys[0]).is_err());
    assert!(Rotation::make(&keys[0], &witness_key(1)).is_err());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_is_written_again(
        text in "(c2sp.org/tlog-proof@v1\n|old [0-9]{1,3}\n|[a-z\n =+/—]|extra |index |[A-Za-z0-9+/]{43}=\n|— [a-z]{1,3} [A-Za-z0-9+/]{8}\n){0,12}",
        bytes: Vec<u8>,
    ) {
        if let Ok(note) = Note::parse(&text) {
            prop_assert_eq!(note.to_string(), text.clone());
        }
        if let Ok(file) = ProofFile::parse(&text) {
            prop_assert_eq!(file.to_string(), text.clone());
        }
        if let Ok(request) = AddCheckpoint::parse(&text) {
            prop_assert_eq!(request.to_string(), text.clone());
        }
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text.clone());
        }
        let _ = (Rotations::parse(&text), Policy::parse(&bytes), Policy::parse(text.as_bytes()), NoteSignature::parse_lines(&text));
    }

    #[test]
    fn every_bit_of_a_signed_checkpoint_counts(at: prop::sample::Index, bit in 0..8_u32) {
        let log = log_key(1);
        let text = signed(&checkpoint(7, root(1)), &[&log]).to_string();
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        let believed = Note::parse(&changed).is_ok_and(|note| note.verify([log.verifier()]).is_ok());
        prop_assert!(!believed, "{changed}");
    }
}
