// activation_cache.h — captured tensors by hook name, with named axes and a byte budget: what exceeds the device's share
// moves to host memory, what exceeds the host's to a temporary file, oldest first. Tensors on an autograd graph stay.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace microtome {

struct CachedTensor {
  std::vector<std::string> axes;
  std::vector<int64_t> positions;      // absolute, where only some were taken; empty: all from first_pos on
  int64_t first_pos = 0;
};

// Movable; not thread-safe.
class ActivationCache {
 public:
  // Budgets in bytes; device counts only tensors not on the CPU.
  explicit ActivationCache(int64_t device_budget = int64_t{8} << 30, int64_t host_budget = int64_t{8} << 30);
  ~ActivationCache();
  ActivationCache(ActivationCache&&) noexcept;
  ActivationCache& operator=(ActivationCache&&) noexcept;

  // The type in which what is put from now on is kept: floating values that are not on an autograd graph. Unset: as they are.
  void keep_as(std::optional<at::ScalarType> type);
  void put(const std::string& name, at::Tensor value, CachedTensor about);
  bool has(const std::string& name) const;
  // The tensor as captured; one that was moved is brought back to `device` of its capture. Throws Error(kNotFound).
  at::Tensor get(const std::string& name) const;
  const CachedTensor& about(const std::string& name) const;
  std::vector<std::string> names() const;              // in the order captured
  void erase(const std::string& name);
  int64_t device_bytes() const;
  int64_t host_bytes() const;
  int64_t disk_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome
