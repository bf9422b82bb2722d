// keep.h — whole states of chosen heads over the first prompt, with the eigenvalues of what each token does to them.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/base/artifact.h"

namespace microtome::analyses::states {

struct KeptHead {
  int64_t layer = 0, head = 0;         // head: of the state
};
// "", or "1.0,1.3": layer.head, by layer and head, none twice. Throws Error(kBadInput) naming what is wrong: no such
// head, a layer without a state, or more than kMostKept numbers over `length` tokens.
std::vector<KeptHead> parse_kept(const std::string& text, const Model& model, int64_t length);
constexpr int64_t kMostKept = int64_t{1} << 26;

// Of one layer's heads over the first prompt, names ending in "_<head>": "state_", "write_" [pos, d_k, d_v] float32,
// "eigen_k_" [pos], "eigen_rest_" [pos] or [pos, d_k], "product_eigenvalues_re_", "product_eigenvalues_im_" [pos, d_k].
// The eigenvalues are left out where the layer does not write by a rule that is known here.
std::vector<NamedArray> keep_states(const AnalysisInput& input, int64_t layer, const std::vector<int64_t>& heads,
                                    Progress& progress);
// The artifact "state_<layer>_<head>" from what keep_states gave.
TensorMap kept_map(const AnalysisInput& input, const KeptHead& head, const std::vector<NamedArray>& item);

}  // namespace microtome::analyses::states
