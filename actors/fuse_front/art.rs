//! Covers made from embedded art: a picture inside a local file, shown as a file of its own.
//!
//! A picture that lies in the file as it is, is read from there with a shift. Any other is taken out once, on a pool, and
//! kept in its handle while all kept pictures together stay within [`MAX_KEPT_BYTES`]; beyond that it is taken out again at
//! each read, which is slow and correct. After every read the file is compared with the version in which the picture was
//! found: in another version the same range holds something else, so the reader gets an error, never strange bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use musicfs_protocol::FetchError;
use musicfs_protocol::library::DirectFile;
use musicfs_pure::tags::{ArtEncoding, ArtLocation};
use musicfs_pure::version::Version;
use parking_lot::Mutex;

use super::errno::Failure;
use super::files::is_same_content;

/// Makes a picture from its stored bytes; nothing when they are not one.
pub type ArtDecoder = fn(&ArtLocation, &[u8]) -> Option<Vec<u8>>;

/// The largest picture that is taken out, as stored: FLAC allows 16 MiB, which base64 makes 22.
const MAX_STORED_BYTES: u64 = 32 << 20;

/// Pictures kept in handles, in all: some hundred covers of usual size, well below what the process may have.
const MAX_KEPT_BYTES: u64 = 32 << 20;

/// Bytes of pictures that are kept in handles now.
#[derive(Clone, Default)]
pub(super) struct ArtBudget(Arc<AtomicU64>);

impl ArtBudget {
    fn try_take(&self, bytes: u64) -> bool {
        let take = |held: u64| held.checked_add(bytes).filter(|&held| held <= MAX_KEPT_BYTES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// An open picture.
pub(super) struct ArtFile {
    file: Arc<dyn DirectFile>,
    location: ArtLocation,
    version: Version,
    decode: ArtDecoder,
    budget: ArtBudget,
    kept: Mutex<Option<Vec<u8>>>,
}

impl ArtFile {
    /// Opens a picture in an open file that must still be in the version in which the picture was found.
    pub(super) fn open(
        file: Arc<dyn DirectFile>,
        location: ArtLocation,
        version: Version,
        decode: ArtDecoder,
        budget: ArtBudget,
    ) -> Result<Self, Failure> {
        let art = Self { file, location, version, decode, budget, kept: Mutex::default() };
        art.check_version(art.file.stat()?)?;
        Ok(art)
    }

    /// Reads without waiting for the disk; nothing when that cannot be.
    pub(super) fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        if self.location.encoding == ArtEncoding::Raw {
            let (at, len) = self.raw_range(offset, buffer.len())?;
            let Some(read) = self.file.read_now(at, &mut buffer[..len])? else { return Ok(None) };
            // where a server would have to be asked for the version, a pool thread asks it
            return self.file.stat_now().map(|now| self.checked(now?, read, len)).transpose();
        }
        // the lock is held by a pool thread while it takes the picture out
        let Some(kept) = self.kept.try_lock() else { return Ok(None) };
        Ok(kept.as_ref().map(|picture| copy_range(picture, offset, buffer)))
    }

    /// Reads, waiting for the disk.
    pub(super) fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.location.encoding == ArtEncoding::Raw {
            let (at, len) = self.raw_range(offset, buffer.len())?;
            let read = self.file.read_blocking(at, &mut buffer[..len])?;
            return self.checked(self.file.stat()?, read, len);
        }
        let mut kept = self.kept.lock();
        if let Some(picture) = kept.as_ref() {
            return Ok(copy_range(picture, offset, buffer));
        }
        let picture = self.take_out()?;
        let read = copy_range(&picture, offset, buffer);
        if self.budget.try_take(picture.len() as u64) {
            *kept = Some(picture);
        }
        Ok(read)
    }

    /// Where in the file a range of the picture is, cut at the picture's end.
    fn raw_range(&self, offset: u64, len: usize) -> Result<(u64, usize), Failure> {
        let at = self.location.offset.checked_add(offset).ok_or(Failure::ArtUnreadable)?;
        let left = self.location.len.saturating_sub(offset);
        Ok((at, usize::try_from(left).map_or(len, |left| left.min(len))))
    }

    /// A read is good when it is complete and the file is still the same.
    fn checked(&self, now: Version, read: usize, wanted: usize) -> Result<usize, Failure> {
        self.check_version(now)?;
        if read == wanted { Ok(read) } else { Err(Failure::ArtUnreadable) }
    }

    fn check_version(&self, now: Version) -> Result<(), Failure> {
        if is_same_content(&now, &self.version) { Ok(()) } else { Err(FetchError::Changed.into()) }
    }

    fn take_out(&self) -> Result<Vec<u8>, Failure> {
        if self.location.stored_len > MAX_STORED_BYTES {
            return Err(Failure::ArtUnreadable);
        }
        let mut stored = vec![0; self.location.stored_len as usize];
        let read = self.file.read_blocking(self.location.offset, &mut stored)?;
        self.checked(self.file.stat()?, read, stored.len())?;
        let picture = (self.decode)(&self.location, &stored);
        picture.filter(|picture| picture.len() as u64 == self.location.len).ok_or(Failure::ArtUnreadable)
    }
}

impl Drop for ArtFile {
    fn drop(&mut self) {
        if let Some(picture) = self.kept.get_mut().take() {
            self.budget.give_back(picture.len() as u64);
        }
    }
}

/// Copies what there is from `offset` on and says how much that was.
fn copy_range(picture: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let from = usize::try_from(offset).map_or(picture.len(), |offset| offset.min(picture.len()));
    let len = buffer.len().min(picture.len() - from);
    buffer[..len].copy_from_slice(&picture[from..from + len]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_beyond_the_end_is_empty() {
        let mut buffer = [0; 4];
        assert_eq!(copy_range(b"abc", 1, &mut buffer), 2);
        assert_eq!(&buffer[..2], b"bc");
        assert_eq!(copy_range(b"abc", u64::MAX, &mut buffer), 0);
    }

    #[test]
    fn budget_never_goes_beyond_its_bound() {
        let budget = ArtBudget::default();
        assert!(budget.try_take(MAX_KEPT_BYTES));
        assert!(!budget.try_take(1));
        assert!(!budget.try_take(u64::MAX));
        budget.give_back(1);
        assert!(budget.try_take(1));
    }
}
