#include "core/store/tensor_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/base/json.h"
#include "core/base/quote.h"
#include "core/base/sha256.h"
#include "core/io/mapped_file.h"
#include "core/io/safetensors.h"

namespace microtome {

namespace {

constexpr char kSuffix[] = ".safetensors";

std::string hash_of(const void* data, size_t size) {
  Sha256 sha;
  sha.update(data, size);
  return sha.hex();
}

}  // namespace

bool is_tensor_hash(const std::string& text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string TensorFiles::put(std::span<const uint8_t> bytes) {
  const std::string hash = hash_of(bytes.data(), bytes.size());
  const std::string path = path_of(hash);
  struct stat st{};
  if (::lstat(path.c_str(), &st) == 0) {
    if (S_ISREG(st.st_mode) && static_cast<size_t>(st.st_size) == bytes.size()) {
      Result<MappedFile> there = MappedFile::open(path);
      if (there.is_ok() && there->size() == bytes.size() && hash_of(there->data(), there->size()) == hash) return hash;
    }
    // A damaged file is replaced by a new one; a link put there must not be written through.
    ::unlink(path.c_str());
  }
  if (::mkdir(folder_.c_str(), 0777) != 0 && errno != EEXIST) {
    throw Error(StatusCode::kFailed, std::string("cannot make the folder of large tensors: ") + std::strerror(errno),
                folder_, "check the rights on the project's folder");
  }
  Status s = write_text_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  // A folder that is gone or closed to us is no fault of the input, whatever code the writer has for it.
  if (!s) throw Error(StatusCode::kFailed, s.what(), s.where(), s.todo());
  return hash;
}

std::vector<NamedArray> TensorFiles::get(const std::string& hash, const std::string& owner) const {
  if (!is_tensor_hash(hash)) {
    throw Error(StatusCode::kBadInput, owner + " names the tensor file " + in_quotes(hash) + ", which is not a hash",
                folder_, "restore the project file from a copy");
  }
  const std::string path = path_of(hash);
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      throw Error(StatusCode::kBadInput, "the tensor file of " + owner + " is missing", path,
                  "copy the folder of tensors together with the project file, or run the analysis again");
    }
    throw Error(StatusCode::kFailed, "cannot read the tensor file of " + owner + ": " + std::strerror(errno), path,
                "check the rights on the file");
  }
  if (!S_ISREG(st.st_mode)) {
    throw Error(StatusCode::kBadInput, "the tensor file of " + owner + " is not a regular file", path,
                "restore it from a copy, or run the analysis again");
  }
  MappedFile file = MappedFile::open(path).value();
  if (hash_of(file.data(), file.size()) != hash) {
    throw Error(StatusCode::kBadInput, "the tensor file of " + owner + " is damaged: its bytes do not match its name",
                path, "restore it from a copy, or run the analysis again");
  }
  return arrays_from_bytes({file.data(), file.size()}, path).value();
}

std::vector<TensorFiles::Entry> TensorFiles::list() const {
  namespace fs = std::filesystem;
  std::vector<Entry> out;
  std::error_code error;
  fs::directory_iterator it(folder_, error);
  if (error) {
    if (error == std::errc::no_such_file_or_directory) return out;
    throw Error(StatusCode::kFailed, "cannot list the folder of large tensors: " + error.message(), folder_);
  }
  for (; it != fs::directory_iterator(); it.increment(error)) {
    if (error) throw Error(StatusCode::kFailed, "cannot list the folder of large tensors: " + error.message(), folder_);
    std::string name = it->path().filename().string();
    if (!is_tensor_hash(name.substr(0, 64))) continue;
    std::string rest = name.substr(64);
    bool whole = rest == kSuffix;
    if (!whole && rest.compare(0, std::strlen(kSuffix) + 5, std::string(kSuffix) + ".tmp-") != 0) continue;
    struct stat st{};
    if (::lstat(it->path().c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    out.push_back({name, whole ? name.substr(0, 64) : "", st.st_size});
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.file_name < b.file_name; });
  return out;
}

void TensorFiles::remove(const Entry& entry) {
  const std::string path = folder_ + "/" + entry.file_name;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw Error(StatusCode::kFailed, std::string("cannot remove a tensor file: ") + std::strerror(errno), path,
                "check the rights on the folder");
  }
}

}  // namespace microtome
