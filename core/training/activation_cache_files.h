// activation_cache_files.h — activations of a corpus kept in a folder: a safetensors file a block and a manifest with their
// checksums; private to core/training.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace microtome {

// Thread-safe. manifest.json: {"format": "microtome-activations-1", "key", "hooks", "blocks", "shards": {"0": sha256, …}}.
class ActivationShards {
 public:
  // Makes the folder. Throws Error(kBadInput) where the folder holds activations of another key.
  ActivationShards(std::string folder, std::string key, std::vector<std::string> hooks, int64_t blocks);
  // nullopt: not kept yet, or damaged, which problem() then says; it is made anew.
  std::optional<std::vector<at::Tensor>> read(int64_t block);
  // A failing disk is told by problem(), ends the caching, and loses nothing that was kept.
  void write(int64_t block, const std::vector<at::Tensor>& values);
  std::string problem();                               // one sentence, "" where there is none

 private:
  std::string file(int64_t block) const;
  void save_manifest();                                // throws Error
  std::string folder_, key_, problem_;
  std::vector<std::string> hooks_;
  int64_t blocks_;
  std::map<int64_t, std::string> shards_;
  bool writes_ = true;
  std::mutex mutex_;
};

}  // namespace microtome
