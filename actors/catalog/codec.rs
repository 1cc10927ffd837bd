//! How a row becomes bytes: a version byte, then postcard.
//!
//! Postcard is compact and its format is specified, so a row can be compared byte by byte in a test. The version byte
//! lets a later program tell an old shape of one row from damage without a schema change of the whole catalog. A row that
//! does not decode, or has bytes left over, is [`CatalogError::Damaged`] with its table's name: never a panic, and never
//! a guess.

use musicfs_protocol::library::CatalogError;
use serde::{Deserialize, Serialize};

use crate::storage::{Family, StorageError};

/// The version of every row's present shape.
const ROW_VERSION: u8 = 1;

impl From<StorageError> for CatalogError {
    fn from(error: StorageError) -> Self {
        Self::Database { reason: error.to_string() }
    }
}

/// The error for a row of this table that makes no sense.
pub(super) fn damaged(family: Family) -> CatalogError {
    CatalogError::Damaged { table: family.name() }
}

/// A row as it is stored.
pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, CatalogError> {
    // A row of ours always serialises; the codec's error is passed on all the same.
    postcard::to_extend(row, vec![ROW_VERSION]).map_err(|error| CatalogError::Database { reason: error.to_string() })
}

/// A stored row, borrowing from its bytes where the type does.
pub(super) fn decode<'a, T: Deserialize<'a>>(family: Family, bytes: &'a [u8]) -> Result<T, CatalogError> {
    let Some((&ROW_VERSION, row)) = bytes.split_first() else { return Err(damaged(family)) };
    match postcard::take_from_bytes(row) {
        Ok((row, [])) => Ok(row),
        _ => Err(damaged(family)),
    }
}

/// A big-endian number that is a whole value.
pub(super) fn decode_u64(family: Family, bytes: &[u8]) -> Result<u64, CatalogError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_with_another_version_or_bytes_left_over_is_damaged() {
        let row = encode(&(7_u8, 300_u16)).unwrap();
        assert_eq!(row, [1, 7, 0xac, 2]);
        assert_eq!(decode::<(u8, u16)>(Family::Files, &row), Ok((7, 300)));
        for bytes in [&[][..], &[2, 7, 0xac, 2], &[1, 7, 0xac, 2, 0], &[1, 7, 0xac], &[1]] {
            assert_eq!(decode::<(u8, u16)>(Family::Files, bytes), Err(damaged(Family::Files)));
        }
    }
}
