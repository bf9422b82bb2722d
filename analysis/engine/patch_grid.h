// patch_grid.h — many changed runs at the price of few: cells of a grid (layer × position, layer × head, or both), each
// one place whose value is replaced. Nothing before the first changed layer and position is computed again: a cell starts
// from the base run's residual there and from the keys, values and recurrent states of the prefix; cells of a layer run
// as one batch; only the logits that the metric reads are computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "analysis/engine/metric.h"

namespace microtome::engine {

struct Site {
  enum class Shape { kPos, kHead, kState };
  std::string name;                    // "resid_pre", "z", "state" …
  std::string hook;                    // below "blocks.i.": "hook_resid_pre", "attn.hook_z"
  Shape shape = Shape::kPos;           // kPos: [layer,pos]; kHead: [layer,head] or by position; kState: always by position
};
// Known sites in the order analyses.md lists them; null for an unknown name.
const std::vector<Site>& patch_sites();
const Site& find_site(const std::string& name);        // throws Error(kBadInput) listing them

// One prompt group's base run and what cells are compared with. A cell of layer l at positions before first_changed has
// the base's value and is not run.
struct GridGroup {
  PromptGroup prompts;
  at::Tensor base_tokens, source_tokens;               // [prompts, length]; source undefined: replacement is computed
  int64_t first_changed = 0;
  std::unique_ptr<Metric> metric;
};

// Gives the replacement at one layer: same shape as the point's value over the whole sequence. base: the value in the base
// run where need_base was set, else undefined.
using Replacement = std::function<at::Tensor(const GridGroup& group, int64_t layer, const at::Tensor& base)>;

class PatchGrid {
 public:
  struct Options {
    Site site;
    bool by_position = false;          // kHead only
    bool all_positions = false;        // kPos only: every position together, one cell a layer
    bool kl = false, loss = false;     // also KL(base ‖ run) at the last position, and mean next-token loss
    bool need_base = false;            // Replacement wants the base run's value
  };
  PatchGrid(const AnalysisInput& input, Options options, std::vector<GridGroup> groups, Replacement replacement);
  ~PatchGrid();

  // Throws Error(kBadInput) when no layer has the site.
  void require_site() const;
  bool has_site(int64_t layer) const;
  int64_t heads(int64_t layer) const;  // of the site: query heads, or key/value heads
  int64_t max_heads() const;
  bool by_pos() const;                 // the grid has a position axis
  bool by_head() const { return options_.site.shape != Site::Shape::kPos; }
  int64_t width() const { return width_; }             // longest prompt: the size of a position axis

  // "value" [prompt] of the base run and of the source run, float64, in dataset order.
  at::Tensor base_metric();
  at::Tensor base_loss();              // mean next-token loss of the base run [prompt]
  const std::vector<GridGroup>& groups() const { return groups_; }

  // No group has more prompts than that from here on: what runs together even for a single cell.
  void split_groups(int64_t most_prompts);
  // All cells of a layer: "value" (and "kl", "loss") [pos?, head?, prompt], float64; NaN where the cell does not exist.
  // Groups of more than batch_rows prompts are split. on_batch is given them after every batch of cells, those not run yet NaN; it decides nothing about the batches.
  using Cells = std::map<std::string, at::Tensor>;
  Cells run_layer(int64_t layer, int64_t batch_rows, Progress& progress,
                  const std::function<void(const Cells& so_far)>& on_batch = {});
  // The same, each cell by a whole forward from the first layer and position with every logit computed: what the
  // benchmark and the tests hold the grid against.
  std::map<std::string, at::Tensor> run_layer_reference(int64_t layer, Progress& progress);
  // What the model says with one cell changed: logits at the last position [prompts, vocab] of one group. pos counts in the
  // group's own prompts; -1 where the grid has no such axis. The group needs no metric. Throws Error(kBadInput) for a cell
  // that the grid does not have.
  at::Tensor cell_logits(size_t group, int64_t layer, int64_t pos, int64_t head);

 private:
  struct Base;                         // residuals, last logits, losses of one group's base run
  struct Cell { int64_t pos = -1, head = -1; };
  const Base& base(size_t group);
  at::Tensor replacement(size_t group, int64_t layer);
  at::Tensor value_in(const at::Tensor& tokens, int64_t layer) const;
  std::vector<Cell> cells(size_t group, int64_t layer) const;
  at::Tensor whole_run(size_t group, int64_t layer, const Cell& cell, const at::Tensor& value, bool last_only) const;
  Edit make_edit(const std::vector<Cell>& cells, const at::Tensor& value, int64_t prompts, bool pattern) const;
  void write(std::map<std::string, at::Tensor>& out, size_t group, const std::vector<Cell>& cells,
             const std::map<std::string, at::Tensor>& values) const;
  std::map<std::string, at::Tensor> measure(size_t group, const at::Tensor& logits, int64_t copies, int64_t first);
  std::map<std::string, at::Tensor> empty_result() const;

  AnalysisInput input_;
  Options options_;
  std::vector<GridGroup> groups_;
  Replacement replacement_;
  std::vector<std::unique_ptr<Base>> bases_;
  std::vector<std::map<int64_t, at::Tensor>> sources_;   // a group → the source run's value at each layer
  int64_t width_ = 0, prompt_count_ = 0;
};

}  // namespace microtome::engine
