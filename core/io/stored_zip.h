// stored_zip.h — the members of a zip archive that holds its files uncompressed, as torch.save writes them: each is a
// range of the archive's own bytes. Format: PKWARE's APPNOTE 4.3 with zip64 records.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace microtome {

// Member name → its bytes. The directory at the end counts; members lie apart, before it. Checksums are not read: that
// would read every weight. Throws Error(kBadInput) for a damaged archive, Error(kUnsupported) for compressed, encrypted
// or split ones, with what to do about it.
std::map<std::string, std::span<const uint8_t>> read_stored_zip(std::span<const uint8_t> archive, const std::string& where,
                                                                const std::string& todo = "save the model again with torch.save");

}  // namespace microtome
