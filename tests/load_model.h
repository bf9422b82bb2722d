// load_model.h — a model folder as tests want it: checked, loaded, in the type asked for, on the device that
// MICROTOME_TEST_DEVICE names (default cpu), so that the same tests hold the GPU to the same numbers.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "core/families/registry.h"
#include "core/io/checkpoint.h"
#include "core/model/device.h"
#include "core/model/model.h"
#include "core/model/weights.h"

namespace microtome::testing {

// change: what a test sets otherwise than config.json says.
inline std::unique_ptr<Model> load_test_model(const std::string& folder, at::ScalarType dtype = at::kFloat,
                                              const std::function<void(ModelConfig&)>& change = {}) {
  Checkpoint checkpoint = Checkpoint::open(folder).value();
  auto [family, config] = families::read_model_config(checkpoint.config(), folder + "/config.json");
  if (change) change(config);
  const char* device = std::getenv("MICROTOME_TEST_DEVICE");
  auto weights = load_weights(checkpoint, *family, config, parse_device(device && *device ? device : "cpu"), dtype);
  return std::make_unique<Model>(config, weights);
}

// Every tensor of a safetensors file.
inline std::map<std::string, at::Tensor> load_tensors(const std::string& path) {
  SafetensorsFile file = SafetensorsFile::open(path).value();
  std::map<std::string, at::Tensor> out;
  for (const TensorEntry& e : file.tensors()) out[e.name] = tensor_of_entry(e, file.keep_alive()).clone();
  return out;
}

// |a - b| <= atol + rtol |b| everywhere; infinities must agree. The message gives the worst place.
inline ::testing::AssertionResult close(const at::Tensor& a, const at::Tensor& b, double atol, double rtol) {
  if (a.sizes() != b.sizes())
    return ::testing::AssertionFailure() << "shape " << a.sizes() << " against " << b.sizes();
  at::Tensor x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  at::Tensor bad = at::where(x == y, at::zeros_like(x), (x - y).abs() - rtol * y.abs());
  bad = at::where(at::isnan(bad), at::full_like(bad, INFINITY), bad);
  if (bad.numel() == 0) return ::testing::AssertionSuccess();
  double worst = bad.max().item<double>();
  if (worst <= atol) return ::testing::AssertionSuccess();
  int64_t at_index = bad.flatten().argmax().item<int64_t>();
  return ::testing::AssertionFailure() << "differs by " << (x - y).abs().flatten()[at_index].item<double>() << " at flat index "
                                       << at_index << ": " << x.flatten()[at_index].item<double>() << " against "
                                       << y.flatten()[at_index].item<double>();
}

}  // namespace microtome::testing
