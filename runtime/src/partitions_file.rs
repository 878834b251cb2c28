//! How many partitions an application's data were made for: written down beside them, and held against the configuration
//! at each start (R1).
//!
//! The file `DATA/APPLICATION/partitions` is written before the first store is made. Deliberately absent: a change of the
//! number; keys would belong to other partitions than those that hold their rows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The file's name in the application's directory.
const NAME: &str = "partitions";
/// No such file is longer, in bytes.
const BYTES_MAX: u64 = 64;

/// What stands against a start.
#[derive(Debug)]
pub enum Disagreement {
    /// The data were made for so many.
    Other(u16),
    /// The file can't be read or written.
    Unusable(io::Error),
}

/// Sees to it that the data in `directory`, which is an application's, are for `partitions` partitions. A directory
/// without data is from here on.
///
/// # Errors
/// When they are for another number, or that can't be said.
pub fn agree(directory: &Path, partitions: u16) -> Result<(), Disagreement> {
    let path = directory.join(NAME);
    let found = match read(&path) {
        Ok(text) => text.trim().parse::<u16>().map_err(|error| {
            let what = format!("{} is not a number: {error}", path.display());
            Disagreement::Unusable(io::Error::new(io::ErrorKind::InvalidData, what))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write(directory, &path, partitions).map_err(Disagreement::Unusable);
        }
        Err(error) => return Err(Disagreement::Unusable(error)),
    };
    if found == partitions { Ok(()) } else { Err(Disagreement::Other(found)) }
}

/// What stands in the file, no more of it than is ever written.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Written under another name, synced, renamed: the file is whole or not there.
fn write(directory: &Path, path: &Path, partitions: u16) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let temporary = directory.join(".partitions");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{partitions}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_partitions_is_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let of_application = directory.path().join("ledger");
        agree(&of_application, 4).unwrap();
        agree(&of_application, 4).unwrap();
        assert!(matches!(agree(&of_application, 1), Err(Disagreement::Other(4))));
        assert!(matches!(agree(&of_application, 5), Err(Disagreement::Other(4))));
        std::fs::write(of_application.join(NAME), "many").unwrap();
        assert!(matches!(agree(&of_application, 4), Err(Disagreement::Unusable(_))));
    }
}
