#include "core/training/activation_cache_files.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cstdio>
#include <filesystem>

#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/io/safetensors.h"

namespace microtome {

namespace fs = std::filesystem;

ActivationShards::ActivationShards(std::string folder, std::string key, std::vector<std::string> hooks, int64_t blocks)
    : folder_(std::move(folder)), key_(std::move(key)), hooks_(std::move(hooks)), blocks_(blocks) {
  std::error_code ec;
  fs::create_directories(folder_, ec);
  if (ec) throw Error(StatusCode::kBadInput, "the folder for activations cannot be made: " + ec.message(), folder_, "choose another");
  const std::string manifest = folder_ + "/manifest.json";
  if (!fs::exists(manifest, ec)) return;
  const Json j = read_json_file(manifest).value();
  if (!j.is_object() || json_string(j, "format", "", manifest) != "microtome-activations-1" || json_string(j, "key", "", manifest) != key_ ||
      json_int(j, "blocks", -1, manifest) != blocks_)
    throw Error(StatusCode::kBadInput, "the folder keeps activations of another model, corpus, point or cut", folder_, "choose another folder, or remove it");
  if (!j.contains("shards") || !j["shards"].is_object()) return;
  for (const auto& [name, hash] : j["shards"].items()) {
    int64_t block = -1;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), block);
    if (error == std::errc() && end == name.data() + name.size() && block >= 0 && block < blocks_ && hash.is_string()) shards_[block] = hash.get<std::string>();
  }
}

std::string ActivationShards::file(int64_t block) const {
  char name[40];
  std::snprintf(name, sizeof name, "/block-%06lld.safetensors", static_cast<long long>(block));
  return folder_ + name;
}

std::optional<std::vector<at::Tensor>> ActivationShards::read(int64_t block) {
  std::lock_guard hold(mutex_);
  auto it = shards_.find(block);
  if (it == shards_.end()) return std::nullopt;
  auto damaged = [&](const std::string& why) {
    problem_ = "kept activations are made anew: " + why;
    shards_.erase(block);
    return std::nullopt;
  };
  Result<MappedFile> bytes = MappedFile::open(file(block));
  if (!bytes) return damaged(bytes.status().text());
  if (sha256_hex({reinterpret_cast<const char*>(bytes->data()), bytes->size()}) != it->second) return damaged(file(block) + " is not as it was written");
  Result<SafetensorsFile> shard = SafetensorsFile::open(file(block));
  if (!shard) return damaged(shard.status().text());
  std::vector<at::Tensor> out;
  for (size_t h = 0; h < hooks_.size(); ++h) {
    const TensorEntry* t = shard->find(hooks_[h]);
    if (!t || t->dtype != DType::kF32 || t->shape.size() != 2) return damaged(file(block) + " lacks " + hooks_[h]);
    out.push_back(at::from_blob(const_cast<uint8_t*>(t->data), t->shape, at::kFloat).clone());
  }
  return out;
}

void ActivationShards::save_manifest() {
  Json shards = Json::object(), hooks = Json::array();
  for (const auto& [block, hash] : shards_) shards[std::to_string(block)] = hash;
  for (const std::string& h : hooks_) hooks.push_back(h);
  Json j = {{"format", "microtome-activations-1"}, {"key", key_}, {"hooks", hooks}, {"blocks", blocks_}, {"shards", shards}};
  if (Status s = write_text_file(folder_ + "/manifest.json", j.dump(1)); !s) throw Error(s);
}

void ActivationShards::write(int64_t block, const std::vector<at::Tensor>& values) {
  std::lock_guard hold(mutex_);
  if (!writes_) return;
  std::vector<at::Tensor> host;
  std::vector<TensorToWrite> tensors;
  for (size_t h = 0; h < hooks_.size(); ++h) {
    host.push_back(values[h].to(at::kCPU, at::kFloat).contiguous());
    const auto* data = reinterpret_cast<const uint8_t*>(host.back().const_data_ptr());
    tensors.push_back({hooks_[h], DType::kF32, host.back().sizes().vec(), {data, host.back().nbytes()}});
  }
  Status s = write_safetensors(file(block), tensors);
  if (s) {
    s = catch_status([&] {
      const MappedFile bytes = MappedFile::open(file(block)).value();
      shards_[block] = sha256_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      save_manifest();
    });
  }
  if (!s) {
    shards_.erase(block);
    writes_ = false;
    problem_ = "activations are no longer kept, training goes on: " + s.text();
  }
}

std::string ActivationShards::problem() {
  std::lock_guard hold(mutex_);
  return problem_;
}

}  // namespace microtome
