//! Small measurements of the pure code, each beside a baseline on the same input in the same run.
//!
//! Rendering a track's path stands beside writing the same path with `format!`, which is what a fixed layout would cost. A tag
//! scan of a FLAC with large art stands beside reading every byte of the same file once, which is what a scan without
//! ranges would cost at the least. Ratios are what counts; see README.md for how runs are kept.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use musicfs_benches::flac;
use musicfs_pure::tags::{TagScan, TagStep, TrackTags};
use musicfs_pure::template::{Template, TemplateOptions, TrackContext};

/// Bytes of the picture in the scanned file: what scanned booklets and high-resolution covers come to.
const ART_BYTES: usize = 1_400_000;

fn tags() -> TrackTags {
    let one = |text: &str| vec![text.to_owned()];
    TrackTags {
        title: one("Title"),
        artist: one("Artist"),
        album: one("Album"),
        year: Some("2020".to_owned()),
        track: Some("1".to_owned()),
        ..TrackTags::default()
    }
}

fn template(criterion: &mut Criterion) {
    let (tags, template, options) = (tags(), Template::default(), TemplateOptions::default());
    let track = TrackContext { tags: Some(&tags), filename: b"01.flac", path: b"x/01.flac", origin: "nas" };
    let mut group = criterion.benchmark_group("path_of_a_track");
    group.bench_function("default_template", |bencher| bencher.iter(|| template.render(black_box(&track), &options)));
    group.bench_function("baseline_format", |bencher| {
        bencher.iter(|| {
            let tags = black_box(&tags);
            let folders =
                [tags.artist[0].clone(), format!("{} ({})", tags.album[0], tags.year.as_deref().unwrap_or(""))];
            (folders, format!("{:0>2} - {}.flac", tags.track.as_deref().unwrap_or(""), tags.title[0]))
        });
    });
    group.finish();
}

/// Runs a scan over a file in memory; gives the bytes that it asked for.
fn scan(file: &[u8]) -> usize {
    let mut scan = TagScan::new(b"x.flac", file.len() as u64, 16 << 10);
    let mut num_bytes = 0;
    while let TagStep::Need(ranges) = scan.step() {
        for range in ranges {
            let start = file.len().min(range.offset as usize);
            let end = file.len().min(start + range.len as usize);
            num_bytes += end - start;
            scan.feed(range.offset, &file[start..end]);
        }
    }
    num_bytes
}

fn tag_scan(criterion: &mut Criterion) {
    let file = flac(ART_BYTES);
    let mut group = criterion.benchmark_group("tags_of_a_flac_with_large_art");
    group.throughput(Throughput::Elements(1));
    group.bench_function("scan_by_ranges", |bencher| bencher.iter(|| scan(black_box(&file))));
    group.bench_function("baseline_every_byte", |bencher| {
        bencher.iter(|| black_box(&file).iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte))));
    });
    group.finish();
}

criterion_group!(benches, template, tag_scan);
criterion_main!(benches);
