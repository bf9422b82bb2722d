#include "core/io/path_hash.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/base/sha256.h"
#include "core/io/mapped_file.h"

namespace microtome {

namespace fs = std::filesystem;

Result<std::string> path_hash(const std::string& path) {
  constexpr size_t kMostFiles = 10000;
  std::error_code ec;
  if (!fs::is_directory(path, ec)) {
    Result<MappedFile> file = MappedFile::open(path);
    if (!file) return file.status();
    return "sha256:" + sha256_hex({reinterpret_cast<const char*>(file->data()), file->size()});
  }
  std::vector<std::string> names;
  for (auto it = fs::recursive_directory_iterator(path, ec); !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
    const std::string name = it->path().filename().string();
    const bool link = it->is_symlink(ec);
    if ((!name.empty() && name[0] == '.') || link || (it->is_directory(ec) && it.depth() >= 2)) {
      it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file(ec)) continue;
    if (names.size() == kMostFiles) return Status(StatusCode::kBadInput, "the folder holds more than 10,000 files", path, "name the folder that is meant");
    names.push_back(fs::relative(it->path(), path, ec).generic_string());
  }
  if (ec) return Status(StatusCode::kFailed, "the folder cannot be read: " + ec.message(), path, "look at its permissions");
  std::sort(names.begin(), names.end());
  Sha256 hash;
  for (const std::string& name : names) {
    Result<MappedFile> file = MappedFile::open(path + "/" + name);
    if (!file) return file.status();
    hash.update(std::to_string(name.size()) + ":" + name + std::to_string(file->size()) + ":");
    hash.update(file->data(), file->size());
  }
  return "sha256:" + hash.hex();
}

}  // namespace microtome
