// checkpoint.h — a model folder as the ecosystem has them: config.json, tokenizer.json, and the weights as
// model.safetensors or its shards with model.safetensors.index.json, else as pytorch_model.bin or its shards. Nothing
// outside the folder is ever opened: shard names with a
// separator, "..", a drive or an absolute path are refused before any open, and symbolic links that leave the folder too
// (a link within a hub cache's own "../../blobs/" layout is allowed: snapshots are stored so).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/io/mapped_file.h"
#include "core/io/safetensors.h"

namespace microtome {

// Immutable; thread-safe; the mappings live as long as it does.
class Checkpoint {
 public:
  // Opens config.json and maps the weights (reads headers only; of pytorch_model.bin also the tensors that are not stored
  // row by row). Errors: kNotFound / kBadInput / kUnsupported with file and field; nothing in a pickle is executed.
  static Result<Checkpoint> open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const Json& config() const { return config_; }                      // an object
  const TensorEntry* find(const std::string& name) const;
  std::vector<std::string> names() const;                             // sorted
  std::shared_ptr<const void> keep_alive() const { return keep_; }
  size_t weight_bytes() const;                                        // tensors that share a storage count each
  // SHA-256 over (name, dtype, shape, bytes) of all tensors in order of name, and of the config's text. Reads the whole
  // file once; cached in memory.
  Result<std::string> weights_hash() const;

 private:
  std::string folder_, config_text_;
  Json config_;
  struct WeightFile {
    MappedFile mapping;
    std::vector<TensorEntry> tensors;
    bool maps(const TensorEntry& t) const {
      return t.data >= mapping.data() && t.data < mapping.data() + mapping.size();
    }
  };
  std::vector<WeightFile> files_;
  std::map<std::string, std::pair<size_t, size_t>> index_;            // name → (file, tensor)
  std::shared_ptr<const void> keep_;
  struct HashCache;
  std::shared_ptr<HashCache> hash_;
};

}  // namespace microtome
