// lens.h — what a run of the analysis `logit_lens` says about one prompt, checked once: the table of top tokens with
// its numbers, and lines over the layers at a position.
#pragma once

#include <memory>
#include <vector>

#include "app/desktop/session/session.h"
#include "app/desktop/views/token_map.h"

namespace microtome::desktop {

class Lens {
 public:
  // Null where the arrays do not fit the model and the prompt. Numbers that the run lacks are left out.
  static std::shared_ptr<const Lens> read(const RunViewPtr& run, const app::ModelPtr& model, const PromptPair& pair);

  int64_t layers() const { return table_.rows - 1; }  // the table has a row more: the model's own output
  int64_t tokens() const { return table_.cols; }
  const TokenMapData& table() const { return table_; }
  const RunViewPtr& run() const { return run_; }
  const app::ModelPtr& model() const { return model_; }
  // What is judged at a position: the token that comes next; at the last one the prompt's answer. Empty: there is none.
  QString target(int64_t position) const { return targets_.value(position); }
  // Over the rows of the table. NaN where there is no value.
  std::vector<double> kl(int64_t position) const { return column(kl_, position, false); }
  std::vector<double> probability(int64_t position) const { return column(logprob_, position, true); }

 private:
  std::vector<double> column(const NamedArray* array, int64_t position, bool exponential) const;
  RunViewPtr run_;
  app::ModelPtr model_;
  TokenMapData table_;
  QStringList targets_;
  const NamedArray *kl_ = nullptr, *logprob_ = nullptr;
};

}  // namespace microtome::desktop
