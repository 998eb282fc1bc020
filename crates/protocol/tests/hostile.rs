//! Bytes from anywhere: every message at every version answers with a value or an error, never a panic, and
//! reserves memory only for what was received.

mod common;

use bytes::Bytes;
use quorate_base::Prng;
use quorate_protocol::catalogue::MESSAGES;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct PeakAllocator;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// Counts, and otherwise leaves everything to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for PeakAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: PeakAllocator = PeakAllocator;

/// No input below is longer than this.
const LONGEST_INPUT_BYTES: usize = 64 * 1024;
/// A decoded element may take more memory than wire, by at most about this much.
const LARGEST_BLOCK_BYTES: usize = 512 * LONGEST_INPUT_BYTES;

fn assert_no_large_block() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= LARGEST_BLOCK_BYTES, "a block of {largest} bytes was allocated");
}

#[test]
fn every_vector_cut_short_is_an_error() {
    for v in common::vectors() {
        assert!(v.bytes.len() <= LONGEST_INPUT_BYTES);
        // All cuts of short ones; of long ones those near the ends and some between.
        let step = (v.bytes.len() / 200).max(1);
        for cut in (0..v.bytes.len()).step_by(step) {
            let result = (v.info.transcode)(v.bytes.slice(..cut), v.version);
            assert!(result.is_err(), "{} v{} cut at {cut}", v.info.name, v.version);
        }
    }
    assert_no_large_block();
}

#[test]
fn every_vector_with_a_byte_more_is_an_error() {
    for v in common::vectors() {
        let longer: Bytes = v.bytes.iter().copied().chain([0]).collect();
        let result = (v.info.transcode)(longer, v.version);
        assert!(result.is_err(), "{} v{}", v.info.name, v.version);
    }
}

#[test]
fn mutated_vectors_decode_to_something_stable_or_to_an_error() {
    let mut prng = Prng::new(4);
    let mut decoded = 0;
    for v in common::vectors() {
        for _ in 0..40 {
            let mut bytes = v.bytes.to_vec();
            for _ in 0..=prng.below(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = prng.below(bytes.len() as u64) as usize;
                bytes[at] = match prng.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => 0x7f,
                    _ => prng.below(256) as u8,
                };
            }
            // What decodes may not encode to the same bytes (bools, long varints, order of tags), but what it
            // encodes to must then be stable.
            if let Ok(once) = (v.info.transcode)(bytes.into(), v.version) {
                decoded += 1;
                let twice = (v.info.transcode)(once.clone(), v.version);
                assert_eq!(twice.as_ref(), Ok(&once), "{} v{}", v.info.name, v.version);
            }
        }
    }
    assert!(decoded > 10_000, "mutations hit values as well as structure: {decoded}");
    assert_no_large_block();
}

#[test]
fn random_bytes_never_panic() {
    let mut prng = Prng::new(5);
    for info in MESSAGES {
        for version in info.versions.clone() {
            for _ in 0..60 {
                let length = prng.below(200) as usize;
                let small = prng.chance(1, 2);
                let bytes: Bytes =
                    (0..length).map(|_| prng.below(if small { 4 } else { 256 }) as u8).collect();
                let _ = (info.transcode)(bytes, version);
            }
        }
    }
    assert_no_large_block();
}

#[test]
fn huge_lengths_at_any_place_cost_nothing() {
    // Whatever field comes first, some prefix of zeros puts one of these patterns on its length.
    let patterns: [&[u8]; 5] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x04],
        &[0x00, 0x01, 0x00, 0x00],
    ];
    for info in MESSAGES {
        for version in info.versions.clone() {
            for zeros in 0..48 {
                for pattern in patterns {
                    let mut bytes = vec![0; zeros];
                    bytes.extend_from_slice(pattern);
                    bytes.resize(bytes.len() + 40, 1);
                    let _ = (info.transcode)(bytes.into(), version);
                }
            }
        }
    }
    assert_no_large_block();
}

#[test]
fn long_runs_of_one_byte_take_bounded_memory() {
    for info in MESSAGES {
        let version = *info.versions.end();
        for byte in [0x00, 0x01, 0x02, 0x7f, 0xff] {
            let _ = (info.transcode)(Bytes::from(vec![byte; LONGEST_INPUT_BYTES]), version);
        }
        // As many elements as the bytes can hold.
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&[0x80, 0xf0, 0x03]);
        bytes.resize(LONGEST_INPUT_BYTES, 0x01);
        let _ = (info.transcode)(bytes.into(), version);
    }
    assert_no_large_block();
}

#[test]
fn versions_that_do_not_exist_are_named() {
    for info in MESSAGES {
        for version in [-1, info.versions.end() + 1, i16::MIN, i16::MAX] {
            let text = (info.transcode)(Bytes::new(), version).unwrap_err().to_string();
            assert_eq!(text, format!("{} has no version {version}", info.name));
        }
    }
}
