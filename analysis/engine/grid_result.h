// grid_result.h — a patch grid's numbers as artifacts: axes and their labels, a table of the strongest cells with
// intervals over prompts, effects by position label, findings in words.
#pragma once

#include <string>
#include <vector>

#include "analysis/engine/arrays.h"
#include "analysis/engine/patch_grid.h"

namespace microtome::engine {

class GridResult {
 public:
  GridResult(const AnalysisInput& input, const PatchGrid& grid, const Site& site);

  std::vector<std::string> axes() const;               // "layer", then "pos", "head"
  // [layer, cells…, prompt] from the items (one a layer), float64; NaN where an item is not there yet (empty).
  at::Tensor stack_layers(const std::vector<std::vector<NamedArray>>& items, const std::string& name) const;
  TensorMap tensor_map(std::string name, std::string title) const;   // labels filled in, no arrays yet
  // Effect at each prompt's own labelled position: adds a TensorMap with effect_by_label [layer(,head),label] where lines
  // carry labels and the grid has positions. value [layer, pos(, head), prompt]; reference [prompt].
  void add_labels(AnalysisResult& out, const at::Tensor& value, const at::Tensor& reference, double span) const;
  // The 20 cells furthest from the reference, mean of (value - reference) / span with a 95 % interval over prompts.
  Table top_table(const at::Tensor& value, const at::Tensor& reference, double span) const;
  // One sentence a strongest cell: "Putting the clean value into head 2.0 brings back 40 % of the clean answer."
  void add_findings(AnalysisResult& out, const at::Tensor& effect, const std::string& act, const std::string& verb,
                    const std::string& of_what) const;
  // "head 2.0 at 'Mary' (position 5)".
  std::string place(const std::vector<int64_t>& index) const;

 private:
  const AnalysisInput& input_;
  const PatchGrid& grid_;
  Site site_;
  bool by_position_;
  std::vector<std::string> pos_labels_;
};

}  // namespace microtome::engine
