// path_hash.h — the SHA-256 of what a path holds, for run keys: a file's bytes, or every regular file of a folder by its
// relative name and bytes.
#pragma once

#include <string>

#include "core/base/status.h"

namespace microtome {

// "sha256:…". A folder's hidden files and links are left out, as are sub-folders below the third level; more than 10,000
// files are refused (kBadInput).
Result<std::string> path_hash(const std::string& path);

}  // namespace microtome
