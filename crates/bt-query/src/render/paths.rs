//! Paths for other programs: one a line, or ended by NUL, which no path can hold.

use crate::answer::Answer;

/// The first known place of each result, as the bytes that the file system knows. A picture without any
/// known place is left out.
pub fn paths(answer: &Answer, nul: bool) -> Vec<u8> {
    let end = if nul { b'\0' } else { b'\n' };
    let mut bytes = Vec::new();
    for path in answer.results.iter().filter_map(|found| found.path()) {
        bytes.extend_from_slice(path.as_os_str().as_encoded_bytes());
        bytes.push(end);
    }
    bytes
}
