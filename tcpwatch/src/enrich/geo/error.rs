//! Why a file cannot serve as a place database.

use std::path::PathBuf;

/// Why a file cannot serve as a place database. Each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// Nothing has this name.
    #[error("no such place database: {}: check the path", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory.
    #[error("{} is a directory: name the MMDB file in it, for example {}",
            .path.display(), .path.join("GeoLite2-Country.mmdb").display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// It is a pipe, a device or a socket.
    #[error("{} is not a regular file: name an MMDB file", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is larger than any place database.
    #[error("{} has {bytes} bytes, more than any place database: name another file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It cannot be read.
    #[error("cannot read the place database {}: check its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has no bytes.
    #[error("the place database {} is empty: fetch it again", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is still packed.
    #[error("{} is compressed: unpack it and name the .mmdb file", .path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// It is no whole MMDB file.
    #[error("{} is cut short, damaged or not an MMDB file: fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
    /// It is an MMDB file about something else.
    #[error("{} is of type {kind:?}, which has neither countries nor networks: use a Country, City, Enterprise, ASN or \
             ISP file (GeoLite2-Country.mmdb, GeoLite2-ASN.mmdb, dbip-city-lite.mmdb)", .path.display())]
    OtherSubject {
        /// The file.
        path: PathBuf,
        /// `database_type` of its metadata.
        kind: String,
    },
    /// Its records are not laid out as GeoIP2's are.
    #[error("{} is of type {kind:?}, whose records are not in the form of GeoIP2: use a file of MaxMind, DB-IP \
             or one made by tcpwatch geo import", .path.display())]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// `database_type` of its metadata.
        kind: String,
        /// What does not fit.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
}
