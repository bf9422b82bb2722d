#include "core/io/checkpoint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>

#include "core/base/quote.h"
#include "core/base/sha256.h"
#include "core/io/torch_file.h"

namespace microtome {
namespace fs = std::filesystem;

struct Checkpoint::HashCache {
  std::mutex mutex;
  std::optional<std::string> hex;
};

namespace {

constexpr char kConfig[] = "config.json";

// How weights are stored, the preferred way first.
struct Format {
  const char* single;
  const char* index;
  const char* suffix;     // of shards
  const char* name;
};
constexpr Format kFormats[] = {
    {"model.safetensors", "model.safetensors.index.json", ".safetensors", "safetensors"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", "a file of torch.save"},
};

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxIndexBytes = size_t{128} << 20;

[[noreturn]] void bad(const std::string& what, const std::string& where, const std::string& todo = {}) {
  throw Error(StatusCode::kBadInput, what, where, todo);
}

bool is_there(const fs::path& p) {
  std::error_code ignored;
  return fs::symlink_status(p, ignored).type() != fs::file_type::not_found;
}

bool is_inside(const fs::path& p, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), p.begin(), p.end());
  return end == folder.end() && rest != p.end();
}

// Where `name` of the folder really lies. A link may lead elsewhere in the folder, or, when the folder is a snapshot of
// a hub cache (REPOSITORY/snapshots/REVISION), into REPOSITORY/blobs; anything else is refused before it is opened.
std::string resolved(const fs::path& real_folder, const std::string& name) {
  std::error_code error;
  const fs::path real = fs::canonical(real_folder / name, error);
  const std::string shown = (real_folder / name).string();
  if (error == std::errc::no_such_file_or_directory)
    throw Error(StatusCode::kNotFound, "'" + shown + "' does not exist, or is a link to nothing");
  if (error) bad("'" + shown + "' cannot be reached: " + error.message(), "");
  const fs::path parent = real_folder.parent_path();
  const bool snapshot = parent.filename() == "snapshots";
  if (!is_inside(real, real_folder) && !(snapshot && is_inside(real, parent.parent_path() / "blobs")))
    bad("'" + shown + "' is a symbolic link that leaves the model folder", "", "put the file itself into the folder");
  return real.string();
}

void check_shard_name(const std::string& name, const Format& format, const std::string& where) {
  const bool path_like = name.find_first_of("/\\:") != std::string::npos || name.find('\0') != std::string::npos;
  if (name.empty() || name == "." || name == ".." || path_like)
    bad("field 'weight_map' names the file " + in_quotes(name) + "; only a plain file name is allowed there", where,
        "shards must lie in the model folder");
  if (!name.ends_with(format.suffix))
    throw Error(StatusCode::kUnsupported, "field 'weight_map' names " + in_quotes(name) + ", which is not " + format.name +
                " (" + format.suffix + ")", where, "save the model again as safetensors");
}

// Tensor name → shard file, every file name checked.
std::map<std::string, std::string> read_weight_map(const std::string& path, const Format& format,
                                                   const std::string& shown) {
  const std::string text = read_text_file(path, kMaxIndexBytes).value();
  const Json index = parse_json(text, shown, {.max_bytes = kMaxIndexBytes}).value();
  if (!index.is_object()) bad("the index is not a JSON object", shown);
  const auto map = index.find("weight_map");
  if (map == index.end()) bad("field 'weight_map' is missing", shown);
  if (!map->is_object() || map->empty()) bad("field 'weight_map' is not an object of tensor and file names", shown);
  std::map<std::string, std::string> out;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      bad("field 'weight_map', tensor " + in_quotes(tensor) + ": the file name is not a text", shown);
    check_shard_name(file.get_ref<const std::string&>(), format, shown);
    out[tensor] = file.get<std::string>();
  }
  return out;
}

[[noreturn]] void refuse_no_weights(const fs::path& folder) {
  for (const char* other :
       {"consolidated.00.pth", "consolidated.safetensors", "model.pt", "tf_model.h5", "flax_model.msgpack"})
    if (is_there(folder / other))
      throw Error(StatusCode::kUnsupported,
                  "the folder holds its weights only as '" + std::string(other) + "', which is not read", folder.string(),
                  "re-save the model as safetensors: model.save_pretrained(FOLDER, safe_serialization=True)");
  throw Error(StatusCode::kNotFound, "the folder holds neither model.safetensors nor model.safetensors.index.json, nor "
              "pytorch_model.bin or its index", folder.string(), "name a folder with a model in it");
}

struct Weights {
  const Format* format = nullptr;
  std::vector<std::string> files;
  std::map<std::string, std::string> map;      // tensor → file; empty without an index
  std::string index_where;
};

// One file wins over an index beside it, as in the libraries that write both.
Weights find_weights(const fs::path& real, const std::string& folder) {
  for (const Format& format : kFormats) {
    Weights w;
    w.format = &format;
    w.index_where = (fs::path(folder) / format.index).string();
    if (is_there(real / format.single)) {
      w.files.emplace_back(format.single);
      return w;
    }
    if (!is_there(real / format.index)) continue;
    w.map = read_weight_map(resolved(real, format.index), format, w.index_where);
    std::set<std::string> distinct;
    for (const auto& [tensor, file] : w.map) distinct.insert(file);
    w.files.assign(distinct.begin(), distinct.end());
    for (const auto& file : w.files)
      if (!is_there(real / file))
        throw Error(StatusCode::kNotFound, "the shard " + in_quotes(file) + " is missing", w.index_where,
                    "download the rest of the model");
    return w;
  }
  refuse_no_weights(folder);
}

void hash_sized(Sha256& hash, std::string_view text) {
  hash.update(std::to_string(text.size()) + ":");
  hash.update(text);
}

// Hashes mapped bytes and gives the pages back on the way, so that hashing a model does not fill the memory with it.
void hash_mapped(Sha256& hash, const uint8_t* data, size_t size) {
  constexpr size_t kChunk = size_t{8} << 20;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (size_t at = 0; at < size; at += kChunk) {
    const size_t n = std::min(kChunk, size - at);
    hash.update(data + at, n);
    const uintptr_t first = reinterpret_cast<uintptr_t>(data + at) / page * page;
    const uintptr_t last = reinterpret_cast<uintptr_t>(data + at + n) / page * page;
    if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& folder) {
  try {
    std::error_code error;
    const fs::path real = fs::canonical(folder, error);
    if (error == std::errc::no_such_file_or_directory)
      return Status(StatusCode::kNotFound, "the model folder '" + folder + "' does not exist", "", "check the path");
    if (error) return Status(StatusCode::kBadInput, "the model folder '" + folder + "': " + error.message());
    if (!fs::is_directory(real))
      return Status(StatusCode::kBadInput, "'" + folder + "' is not a folder", "",
                    "name the folder that holds config.json");

    Checkpoint c;
    c.folder_ = folder;
    c.hash_ = std::make_shared<HashCache>();
    const std::string config_where = (fs::path(folder) / kConfig).string();
    if (!is_there(real / kConfig))
      return Status(StatusCode::kNotFound, "config.json is missing", folder,
                    "copy it from where the weights came from");
    c.config_text_ = read_text_file(resolved(real, kConfig), kMaxConfigBytes).value();
    if (c.config_text_.find_first_not_of(" \t\r\n") == std::string::npos) bad("config.json is empty", config_where);
    const JsonLimits limits{.max_bytes = kMaxConfigBytes, .allow_infinity = true};
    c.config_ = parse_json(c.config_text_, config_where, limits).value();
    if (!c.config_.is_object()) bad("config.json is not a JSON object", config_where);

    const Weights weights = find_weights(real, folder);
    std::vector<std::shared_ptr<const void>> keep;
    for (size_t f = 0; f < weights.files.size(); ++f) {
      // Messages name the file as it stands in the folder, not the blob that a hub cache's link leads to.
      const MappedFile mapping = MappedFile::open(resolved(real, weights.files[f])).value();
      const std::string shown = (fs::path(folder) / weights.files[f]).string();
      const std::span<const uint8_t> bytes(mapping.data(), mapping.size());
      keep.push_back(mapping.keep_alive());
      if (weights.format == &kFormats[0]) {
        c.files_.push_back({mapping, SafetensorsFile::parse(bytes, shown).value().tensors()});
      } else {
        TorchTensors read = parse_torch_file(bytes, shown).value();
        keep.push_back(read.copies);
        c.files_.push_back({mapping, std::move(read.tensors)});
      }
      const auto& tensors = c.files_[f].tensors;
      for (size_t t = 0; t < tensors.size(); ++t) {
        const auto mapped = weights.map.find(tensors[t].name);
        if (mapped != weights.map.end() && mapped->second != weights.files[f]) continue;   // the index prefers another
        if (!c.index_.emplace(tensors[t].name, std::pair(f, t)).second)
          bad("tensor " + in_quotes(tensors[t].name) + " is in two shards and the index does not say which one holds",
              weights.index_where);
      }
    }
    for (const auto& [tensor, file] : weights.map)
      if (!c.index_.count(tensor))
        bad("tensor " + in_quotes(tensor) + " is not in the shard " + in_quotes(file) + " that the index names",
            weights.index_where);
    c.keep_ = std::make_shared<const std::vector<std::shared_ptr<const void>>>(std::move(keep));
    return c;
  } catch (...) {
    return status_of_current_exception();
  }
}

const TensorEntry* Checkpoint::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &files_[it->second.first].tensors[it->second.second];
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> out;
  out.reserve(index_.size());
  for (const auto& [name, place] : index_) out.push_back(name);
  return out;
}

size_t Checkpoint::weight_bytes() const {
  size_t total = 0;
  for (const auto& [name, place] : index_) total += files_[place.first].tensors[place.second].bytes;
  return total;
}

Result<std::string> Checkpoint::weights_hash() const {
  if (!hash_) return Status(StatusCode::kInternal, "the checkpoint was not opened");
  std::lock_guard lock(hash_->mutex);
  if (!hash_->hex) {
    Sha256 hash;
    hash_sized(hash, "microtome weights 1");
    for (const auto& [name, place] : index_) {
      const TensorEntry& t = files_[place.first].tensors[place.second];
      hash_sized(hash, name);
      hash_sized(hash, dtype_name(t.dtype));
      std::string shape;
      for (const int64_t dim : t.shape) shape += std::to_string(dim) + ",";
      hash_sized(hash, shape);
      hash.update(std::to_string(t.bytes) + ":");
      if (files_[place.first].maps(t)) hash_mapped(hash, t.data, t.bytes);
      else hash.update(t.data, t.bytes);      // a copy of ours, which must not be given back
    }
    hash_sized(hash, config_text_);
    hash_->hex = hash.hex();
  }
  return *hash_->hex;
}

}  // namespace microtome
