//! What the benchmarks share: tags and files made to order, the same in every run.
//!
//! A benchmark compares the product's code with a baseline in the same run on the same input, because a figure alone says
//! more about the machine than about the code. The inputs are built here so that both sides of a pair get the same one.

pub mod library;

/// A FLAC file as a tag scan meets it: header, comments, a picture of `picture_len` bytes, no audio.
pub fn flac(picture_len: usize) -> Vec<u8> {
    let comments = ["TITLE=Title", "ARTIST=Artist", "ALBUM=Album", "DATE=2020", "TRACKNUMBER=1"];
    let mut body = le_bytes(b"musicfs benches");
    body.extend_from_slice(&(comments.len() as u32).to_le_bytes());
    body.extend(comments.iter().flat_map(|comment| le_bytes(comment.as_bytes())));
    let mut picture = vec![0, 0, 0, 3, 0, 0, 0, 10];
    picture.extend_from_slice(b"image/jpeg");
    picture.extend_from_slice(&[0; 20]);
    picture.extend_from_slice(&(picture_len as u32).to_be_bytes());
    picture.resize(picture.len() + picture_len, 0xd8);
    let mut file = b"fLaC".to_vec();
    push_block(&mut file, 0, &[0; 34]);
    push_block(&mut file, 4, &body);
    push_block(&mut file, 0x80 | 6, &picture);
    file
}

fn le_bytes(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn push_block(file: &mut Vec<u8>, kind: u8, body: &[u8]) {
    file.push(kind);
    file.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    file.extend_from_slice(body);
}
