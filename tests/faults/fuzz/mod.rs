//! Bytes from outside against everything that takes them apart: mutated again and again, on the stable toolchain.
//!
//! Each *body* takes any bytes, asserts what must hold for all of them, and answers with a *signature* of what happened. A
//! test replays the corpus of its body, file by file, and then runs mutated inputs: one that gave a signature of its own is
//! mutated further, so that the search goes deeper than noise. Seeds are sound files, built or written by hand, and every
//! input that ever failed stays in the corpus under the name of what it found.
//!
//! `MUSICFS_FUZZ` is the number of inputs per body; `MUSICFS_SEED` repeats a run. What fails is kept as a file, named in
//! the message. Nothing here measures time: a body is bounded by the work that it asserts.

mod bodies;
mod mutate;
mod tags;

use std::collections::HashSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use crate::support::random::Random;
use crate::support::tree::hash;

/// Inputs per body where nothing else is asked for: a second or two.
const NUM_INPUTS: usize = 2000;

/// Inputs that are kept for further mutation: more than there are signatures worth a second look.
const MAX_POOL: usize = 1024;

/// The longest corpus file: one page of a picture is enough for any structure.
const MAX_CORPUS_FILE_BYTES: usize = 8 << 10;

/// What takes bytes apart, and words that mean something to it.
struct Body {
    run: fn(&[u8]) -> u64,
    words: &'static [&'static [u8]],
}

macro_rules! bodies {
    ($($test:ident: $corpus:literal, $run:expr, $words:expr;)*) => { $(
        #[test]
        fn $test() {
            run($corpus, &Body { run: $run, words: $words });
        }
    )* };
}

bodies! {
    flac_of_any_bytes_is_survived: "flac", tags::flac, tags::WORDS;
    mp3_of_any_bytes_is_survived: "mp3", tags::mp3, tags::WORDS;
    ogg_of_any_bytes_is_survived: "ogg", tags::ogg, tags::WORDS;
    mp4_of_any_bytes_is_survived: "mp4", tags::mp4, tags::WORDS;
    wav_of_any_bytes_is_survived: "wav", tags::wav, tags::WORDS;
    aiff_of_any_bytes_is_survived: "aiff", tags::aiff, tags::WORDS;
    wavpack_of_any_bytes_is_survived: "wavpack", tags::wavpack, tags::WORDS;
    monkeys_audio_of_any_bytes_is_survived: "monkeys_audio", tags::monkeys_audio, tags::WORDS;
    musepack_of_any_bytes_is_survived: "musepack", tags::musepack, tags::WORDS;
    template_of_any_bytes_makes_paths_or_an_error: "template", bodies::template, bodies::TEMPLATE_WORDS;
    listing_of_any_names_stays_below_its_root: "listing", bodies::listing, bodies::LISTING_WORDS;
    configuration_of_any_bytes_is_read_or_refused: "config", bodies::config, bodies::CONFIG_WORDS;
    location_of_any_bytes_is_read_or_refused: "location", bodies::location, bodies::LOCATION_WORDS;
    line_of_any_bytes_is_a_call_or_refused: "wire", bodies::wire, bodies::WIRE_WORDS;
}

fn num_inputs() -> usize {
    std::env::var("MUSICFS_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(NUM_INPUTS)
}

/// The short form takes the same inputs every time, so that it says the same of the same code; to look further is what the
/// long form is for.
fn seed(name: &str) -> u64 {
    let is_asked_for = ["MUSICFS_SEED", "MUSICFS_FUZZ"].iter().any(|name| std::env::var_os(name).is_some());
    if is_asked_for { Random::seed(name) } else { hash(name.as_bytes()) }
}

/// A body's corpus: file names and contents, in order.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/fuzz/corpus").join(name);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    for (file, bytes) in &files {
        assert!(bytes.len() <= MAX_CORPUS_FILE_BYTES, "{name}/{file} has {} bytes", bytes.len());
    }
    files
}

/// The signature of an input; one that fails is kept as a file and named.
fn signature(name: &str, body: &Body, input: &[u8]) -> u64 {
    catch_unwind(|| (body.run)(input)).unwrap_or_else(|_| {
        let kept = std::env::temp_dir().join(format!("musicfs-fuzz-{name}-{:016x}", hash(input)));
        fs::write(&kept, input).unwrap();
        panic!("{name} fails with the {} bytes in {}", input.len(), kept.display());
    })
}

fn run(name: &str, body: &Body) {
    let corpus = corpus(name);
    let mut seen: HashSet<u64> = HashSet::new();
    let mut pool: Vec<Vec<u8>> = Vec::new();
    for (file, bytes) in corpus {
        println!("{name}/{file}");
        seen.insert(signature(name, body, &bytes));
        pool.push(bytes);
    }
    let (num_seeds, num_inputs) = (pool.len(), num_inputs());
    let mut random = Random::new(seed(name));
    for _ in 0..num_inputs {
        let input = mutate::mutated(&mut random, &pool, body.words);
        if !seen.insert(signature(name, body, &input)) {
            continue;
        }
        if pool.len() < MAX_POOL {
            pool.push(input);
        } else {
            let old = num_seeds + random.below(pool.len() - num_seeds);
            pool[old] = input;
        }
    }
    println!("{name}: {num_inputs} inputs, {} signatures", seen.len());
}
