// The one file that sees the autograd engine's own headers (slow to compile).
#include <torch/csrc/autograd/autograd.h>

#include "core/model/model.h"

namespace microtome {

std::vector<at::Tensor> hook_autograd(const at::Tensor& metric, const std::vector<at::Tensor>& leaves, bool keep_graph) {
  return torch::autograd::grad({metric}, leaves, {}, keep_graph, /*create_graph=*/false, /*allow_unused=*/true);
}

}  // namespace microtome
