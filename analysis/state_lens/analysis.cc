// What a recurrent head's state says: the logits it would write were it read with a given query.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "analysis/state_lens/reading.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using engine::block_point;

constexpr int64_t kPromptsPerItem = 16;
constexpr int64_t kTableRows = 50000;
const double kNaN = std::numeric_limits<double>::quiet_NaN();

at::Tensor empty_cells(at::IntArrayRef shape) { return at::full(shape, kNaN, at::TensorOptions().dtype(at::kDouble)); }

class StateLensRun : public AnalysisRun {
 public:
  StateLensRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input), info_(info) {
    query_ = input.params.get_string("query");
    for (int64_t l = 0; l < engine::layer_count(input.model); ++l) {
      if (!state_lens::readable(input.model, l, query_ == "own")) continue;
      read_.push_back(l);
      heads_ = std::max(heads_, engine::state_readers(input.model, l));
      directions_ = std::max(directions_, input.model.mixer_info(l).d_k);
    }
    if (read_.empty())
      throw Error(StatusCode::kUnsupported, "the model has no recurrent layer, so there is no state to read",
                  input.model.config().name.empty() ? "model" : input.model.config().name,
                  "use a model with linear-attention layers, or analysis 'logit_lens'");
    engine::require_prompts(input, info, false);
    groups_ = engine::group_prompts(input, false, kPromptsPerItem);
    chosen_ = engine::chosen_heads(input.params.get_string("heads"), heads_);
    for (int64_t h = 0; h < heads_; ++h)
      if (chosen_[static_cast<size_t>(h)]) head_list_.push_back(h);
    top_ = std::min(input.params.get_int("top"), input.model.config().vocab_size);
  }

  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()); }
  std::string item_title(int64_t item) const override {
    const engine::PromptGroup& g = groups_.at(static_cast<size_t>(item));
    return std::to_string(g.prompts.size()) + " prompts of " + std::to_string(g.length) + " tokens";
  }
  void set_batch(int64_t rows) override { batch_ = std::max<int64_t>(1, rows); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    const engine::PromptGroup& g = groups_.at(static_cast<size_t>(item));
    int64_t count = static_cast<int64_t>(g.prompts.size()), layers = static_cast<int64_t>(read_.size());
    std::map<std::string, at::Tensor> out;
    std::vector<int64_t> shape = {engine::layer_count(input_.model), heads_, count, cells(g.length)};
    for (const char* name : names()) out[name] = empty_cells(shape);
    if (g.prompts.front() == 0)
      for (const char* name : {"first_id", "first_logit"}) out[name] = empty_cells({shape[0], heads_, shape[3], top_});
    for (int64_t from = 0; from < count; from += batch_) {
      int64_t rows = std::min(batch_, count - from);
      at::Tensor tokens = g.clean.narrow(0, from, rows);
      HookPlan plan;
      plan.form = input_.form;
      plan.logits = false;
      for (int64_t l : read_) plan.capture(block_point(l, "hook_resid_pre"));
      std::string last = block_point(engine::layer_count(input_.model) - 1, "hook_resid_post");
      plan.capture(last);
      ForwardResult run = input_.model.forward(tokens, plan);
      at::Tensor scale = engine::final_scale(input_.model, run.cache.get(last).flatten(0, 1)).view({rows, g.length});
      for (int64_t i = 0; i < layers; ++i) {
        progress.step(from * layers + i * rows, count * layers);
        at::Tensor entry = run.cache.get(block_point(read_[static_cast<size_t>(i)], "hook_resid_pre"));
        if (query_ == "keys") read_keys(g, from, read_[static_cast<size_t>(i)], tokens, entry, scale, progress, out);
        else read_tokens(g, from, read_[static_cast<size_t>(i)], tokens, entry, scale, progress, out);
      }
    }
    std::vector<NamedArray> arrays;
    std::string cell = query_ == "keys" ? "d_k" : "pos";
    for (const auto& [name, t] : out) {
      bool first = name.rfind("first_", 0) == 0;
      arrays.push_back(engine::to_array(name, first ? std::vector<std::string>{"layer", "head", cell, "rank"}
                                                    : std::vector<std::string>{"layer", "head", "prompt", cell}, t));
    }
    return arrays;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  std::vector<const char*> names() const {
    if (query_ == "keys") return {"top_id", "top_logit", "row_norm"};
    return {"top_id", "top_logit", "next_rank", "seen"};
  }
  int64_t cells(int64_t length) const { return query_ == "keys" ? directions_ : length; }

  // The logits of writes [n, d_model] behind a final norm whose divisor is scale [n]; f gets the first row and the logits
  // of some rows at a time.
  void each_logits(const at::Tensor& written, const at::Tensor& scale, Progress& progress,
                   const std::function<void(int64_t, const at::Tensor&)>& f) const {
    int64_t chunk = engine::logit_rows(input_.model);
    for (int64_t from = 0; from < written.size(0); from += chunk) {
      progress.check();
      int64_t n = std::min(chunk, written.size(0) - from);
      f(from, engine::direct_logits(input_.model, written.narrow(0, from, n)) / scale.narrow(0, from, n).unsqueeze(1));
    }
  }

  void read_tokens(const engine::PromptGroup& g, int64_t row, int64_t layer, const at::Tensor& tokens,
                   const at::Tensor& entry, const at::Tensor& scale, Progress& progress,
                   std::map<std::string, at::Tensor>& out) const;
  void read_keys(const engine::PromptGroup& g, int64_t row, int64_t layer, const at::Tensor& tokens,
                 const at::Tensor& entry, const at::Tensor& scale, Progress& progress,
                 std::map<std::string, at::Tensor>& out) const;
  std::vector<int64_t> heads_of(int64_t layer) const {
    std::vector<int64_t> out;
    for (int64_t h : head_list_)
      if (h < engine::state_readers(input_.model, layer)) out.push_back(h);
    return out;
  }
  // What follows token r of a prompt: the next one, at the end the prompt's answer; -1 without one.
  at::Tensor following(const engine::PromptGroup& g, int64_t row, int64_t rows) const {
    at::Tensor last = at::full({rows, 1}, -1, at::TensorOptions().dtype(at::kLong));
    for (int64_t r = 0; r < rows; ++r) {
      const PromptPair& pair = input_.dataset.pairs[static_cast<size_t>(g.prompts[static_cast<size_t>(row + r)])];
      if (!pair.answer_ids.empty() && pair.answer_ids[0] >= 0 && pair.answer_ids[0] < input_.model.config().vocab_size)
        last[r][0] = pair.answer_ids[0];
    }
    return at::cat({g.clean.narrow(0, row, rows).slice(1, 1), last.to(g.clean.device())}, 1);
  }
  void add_token_table(const std::map<std::string, at::Tensor>& all, const std::vector<NamedArray>& first,
                       AnalysisResult& result) const;
  void add_heads(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const;
  void add_key_findings(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const;

  AnalysisInput input_;
  AnalysisInfo info_;
  std::string query_;
  std::vector<int64_t> read_, head_list_;   // layers and heads that are read
  std::vector<engine::PromptGroup> groups_;
  std::vector<bool> chosen_;
  int64_t heads_ = 0, directions_ = 0, top_ = 5, batch_ = 8;
};

void StateLensRun::read_tokens(const engine::PromptGroup& g, int64_t row, int64_t layer, const at::Tensor& tokens,
                               const at::Tensor& entry, const at::Tensor& scale, Progress& progress,
                               std::map<std::string, at::Tensor>& out) const {
  std::vector<int64_t> heads = heads_of(layer);
  if (heads.empty()) return;
  int64_t rows = tokens.size(0), length = tokens.size(1), n_heads = static_cast<int64_t>(heads.size());
  int64_t ahead = query_ == "next" ? 1 : 0, last = input_.params.get_int("last_positions");
  int64_t begin = last > 0 ? std::max<int64_t>(0, length - last) : 0;
  at::Tensor index = at::tensor(heads, at::kLong).to(tokens.device()), targets = following(g, row, rows);
  state_lens::read_positions(input_.model, layer, tokens, entry, input_.form, ahead == 1, begin, progress,
                             [&](int64_t first, const at::Tensor& all) {
    // The last position has no next one to read it.
    int64_t count = std::min(all.size(1), length - ahead - first);
    if (count <= 0) return;
    at::Tensor written = all.narrow(1, 0, count).index_select(2, index).flatten(0, 2);
    auto of_reader = [&](const at::Tensor& t) {   // [rows, length] → a number a row of `written`
      return t.narrow(1, first + ahead, count).unsqueeze(-1).expand({rows, count, n_heads}).reshape({-1});
    };
    at::Tensor divisor = of_reader(scale), target = of_reader(targets);
    std::vector<at::Tensor> ids, values, ranks;
    each_logits(written, divisor, progress, [&](int64_t from, const at::Tensor& logits) {
      auto [v, i] = at::topk(logits, top_);
      values.push_back(v);
      ids.push_back(i);
      at::Tensor want = target.narrow(0, from, logits.size(0)), known = want >= 0;
      at::Tensor rank = (logits > logits.gather(1, want.clamp_min(0).unsqueeze(1))).sum(-1).to(at::kDouble);
      ranks.push_back(at::where(known, rank, at::full_like(rank, kNaN)));
    });
    at::Tensor id = at::cat(ids), value = at::cat(values), rank = at::cat(ranks);
    // Whether the top token stands in the prompt up to the reader.
    at::Tensor reader = at::arange(first + ahead, first + ahead + count, tokens.options()).view({1, count, 1, 1});
    at::Tensor before = at::arange(length, tokens.options()).view({1, 1, 1, length}) <= reader;
    at::Tensor seen = (id.select(1, 0).view({rows, count, n_heads, 1}) == tokens.view({rows, 1, 1, length}))
                          .logical_and(before).any(-1).to(at::kDouble);
    auto put = [&](const char* name, const at::Tensor& t) {   // [rows, count, head] → [head, prompt, pos]
      at::Tensor cell = out.at(name).select(0, layer).narrow(1, row, rows).narrow(2, first, count);
      at::Tensor v = t.view({rows, count, n_heads}).permute({2, 0, 1}).to(at::kCPU, at::kDouble);
      for (int64_t h = 0; h < n_heads; ++h) cell.select(0, heads[static_cast<size_t>(h)]).copy_(v[h]);
    };
    put("top_id", id.select(1, 0));
    put("top_logit", value.select(1, 0));
    put("next_rank", rank);
    put("seen", seen);
    if (row > 0 || !out.count("first_id")) return;
    auto put_first = [&](const char* name, const at::Tensor& t) {
      at::Tensor cell = out.at(name).select(0, layer).narrow(1, first, count);
      at::Tensor v = t.view({rows, count, n_heads, top_})[0].transpose(0, 1).to(at::kCPU, at::kDouble);
      for (int64_t h = 0; h < n_heads; ++h) cell.select(0, heads[static_cast<size_t>(h)]).copy_(v[h]);
    };
    put_first("first_id", id);
    put_first("first_logit", value);
  });
}

void StateLensRun::read_keys(const engine::PromptGroup& g, int64_t row, int64_t layer, const at::Tensor& tokens,
                             const at::Tensor& entry, const at::Tensor& scale, Progress& progress,
                             std::map<std::string, at::Tensor>& out) const {
  std::vector<int64_t> heads = heads_of(layer);
  if (heads.empty()) return;
  int64_t n_heads = static_cast<int64_t>(heads.size());
  at::Tensor index = at::tensor(heads, at::kLong).to(tokens.device());
  for (int64_t r = 0; r < tokens.size(0); ++r) {
    state_lens::KeyReading reading = state_lens::read_keys(input_.model, layer, tokens.narrow(0, r, 1),
                                                           entry.narrow(0, r, 1), input_.form, progress);
    int64_t d_k = reading.written.size(0);
    at::Tensor written = reading.written.index_select(1, index).flatten(0, 1);
    std::vector<at::Tensor> ids, values;
    each_logits(written, scale[r][-1].expand({d_k * n_heads}), progress, [&](int64_t, const at::Tensor& logits) {
      auto [v, i] = at::topk(logits, top_);
      values.push_back(v);
      ids.push_back(i);
    });
    auto put = [&](const char* name, const at::Tensor& t) {   // [d_k, head]
      at::Tensor v = t.view({d_k, n_heads}).to(at::kCPU, at::kDouble);
      for (int64_t h = 0; h < n_heads; ++h)
        out.at(name)[layer][heads[static_cast<size_t>(h)]][row + r].narrow(0, 0, d_k).copy_(v.select(1, h));
    };
    at::Tensor id = at::cat(ids), value = at::cat(values);
    put("top_id", id.select(1, 0));
    put("top_logit", value.select(1, 0));
    put("row_norm", reading.row_norm.index_select(1, index));
    if (row + r > 0 || !out.count("first_id")) continue;
    for (int64_t h = 0; h < n_heads; ++h) {
      int64_t head = heads[static_cast<size_t>(h)];
      out["first_id"][layer][head].narrow(0, 0, d_k).copy_(id.view({d_k, n_heads, top_}).select(1, h));
      out["first_logit"][layer][head].narrow(0, 0, d_k).copy_(value.view({d_k, n_heads, top_}).select(1, h));
    }
  }
}

AnalysisResult StateLensRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size()), width = cells(engine::longest(groups_));
  int64_t layers = engine::layer_count(input_.model);
  std::map<std::string, at::Tensor> all;
  const std::vector<NamedArray>* first = nullptr;
  for (const char* name : names()) all[name] = empty_cells({layers, heads_, prompts, width});
  for (size_t i = 0; i < items.size(); ++i) {
    at::Tensor columns = at::tensor(groups_[i].prompts, at::kLong);
    for (auto& [name, t] : all)
      t.index_copy_(2, columns, engine::pad_nan(engine::to_tensor(engine::find_array(items[i], name)), 3, width, true));
    if (groups_[i].prompts.front() == 0) first = &items[i];
  }
  AnalysisResult result;
  for (int64_t l = 0; l < layers; ++l)
    if (std::find(read_.begin(), read_.end(), l) == read_.end())
      result.warnings.push_back("layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
                                ") has no state that could be read; its cells are empty");
  TensorMap map;
  map.name = "state_lens";
  map.title = query_ == "own"    ? "State lens: S_t read with its own query"
              : query_ == "next" ? "State lens: S_t read with the next token's query"
                                 : "State lens: the last state read with each key direction";
  std::string cell = query_ == "keys" ? "d_k" : "pos";
  for (const OutputInfo& o : info_.outputs) {
    if (!all.count(o.name)) continue;
    std::string unit = o.name == "top_id"      ? "id"
                       : o.name == "top_logit" ? "logits"
                       : o.name == "next_rank" ? "tokens"
                                               : "";
    map.arrays.push_back(engine::to_array(o.name, {"layer", "head", "prompt", cell}, all[o.name], unit, o.help));
    map.looks[o.name] = o.name == "top_logit" ? "diverging" : "sequential";
  }
  map.axis_labels["layer"] = engine::number_labels("L", layers);
  map.axis_labels["head"] = engine::number_labels("H", heads_);
  map.axis_labels["prompt"] = engine::number_labels("prompt ", prompts);
  map.axis_labels[cell] =
      query_ == "keys" ? engine::number_labels("k", width) : engine::position_labels(input_, groups_);
  result.artifacts.push_back(std::move(map));
  if (first) add_token_table(all, *first, result);
  result.summary = {
      engine::plain_number("prompts", static_cast<double>(prompts), "", "how many prompts were run"),
      engine::plain_number("layers_read", static_cast<double>(read_.size()), "", "layers with a state that was read")};
  if (query_ == "keys") add_key_findings(all, result);
  else add_heads(all, result);
  return result;
}

// The first prompt's tokens, a row a layer, head and position (or key direction).
void StateLensRun::add_token_table(const std::map<std::string, at::Tensor>& all, const std::vector<NamedArray>& first,
                                   AnalysisResult& result) const {
  const std::vector<int64_t>& ids = input_.dataset.pairs[0].clean_ids;
  bool keys = query_ == "keys";
  Table table{keys ? "state_lens_keys" : "state_lens_tokens",
              keys ? "What each key direction of the last state says, first prompt"
                   : "What each state says, position by position, first prompt",
              {{"layer", "", ""}, {"head", "", "row of hook_z"}},
              {}};
  if (keys) {
    table.columns.push_back({"key", "", "key direction: row of S"});
    table.columns.push_back({"norm", "", "length of that row"});
  } else {
    table.columns.push_back({"pos", "", "position of the state"});
    table.columns.push_back({"token", "", "the prompt's token there"});
  }
  auto ranked = [&](const char* name, const char* unit, const char* help) {
    for (int64_t k = 1; k <= top_; ++k) table.columns.push_back({name + std::to_string(k), unit, help});
  };
  ranked("top", "", "tokens with the largest logits");
  ranked("logit", "logits", "what the head would add to that token's logit");
  const at::Tensor id = engine::to_tensor(engine::find_array(first, "first_id")),
                   logit = engine::to_tensor(engine::find_array(first, "first_logit"));
  int64_t heads = 0, length = id.size(2);
  for (int64_t l : read_) heads += static_cast<int64_t>(heads_of(l).size());
  int64_t fit = std::max<int64_t>(1, kTableRows / std::max<int64_t>(1, heads)), begin = std::max<int64_t>(0, length - fit);
  if (begin > 0)
    result.warnings.push_back("the table " + table.name + " holds the last " + std::to_string(fit) + " of " +
                              std::to_string(length) + (keys ? " key directions" : " positions") +
                              " a head; read fewer heads to see all");
  auto number = [](const at::Tensor& t, int64_t l, int64_t h, int64_t c, int64_t k) {
    return t.const_data_ptr<double>()[((l * t.size(1) + h) * t.size(2) + c) * t.size(3) + k];
  };
  for (int64_t l : read_)
    for (int64_t h : heads_of(l))
      for (int64_t c = begin; c < length; ++c) {
        if (std::isnan(number(id, l, h, c, 0))) continue;
        std::vector<Cell> row = {l, h, c};
        if (keys) row.push_back(all.at("row_norm")[l][h][0][c].item<double>());
        else row.push_back(engine::token_texts(input_.tokenizer, {ids[static_cast<size_t>(c)]})[0]);
        std::vector<int64_t> tokens;
        for (int64_t k = 0; k < top_; ++k) tokens.push_back(static_cast<int64_t>(number(id, l, h, c, k)));
        for (std::string& text : engine::token_texts(input_.tokenizer, tokens)) row.push_back(std::move(text));
        for (int64_t k = 0; k < top_; ++k) row.push_back(number(logit, l, h, c, k));
        table.rows.push_back(std::move(row));
      }
  result.artifacts.push_back(std::move(table));
}

// How often a head's reading puts on top what comes next, or what stood in the prompt.
void StateLensRun::add_heads(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const {
  const at::Tensor& rank = all.at("next_rank");
  at::Tensor next = at::where(rank.isnan(), rank, (rank == 0).to(at::kDouble));
  at::Tensor by_head = at::nanmean(next, {2, 3}), seen = at::nanmean(all.at("seen"), {2, 3});
  Table table{"state_lens_heads",
              "What the heads' states say, mean over prompts and positions",
              {{"layer", "", ""}, {"head", "", ""}, {"kind", "", "mixer"},
               {"next_on_top", "share", "readings that put the token following the reader on top"},
               {"seen_on_top", "share", "readings whose top token stands in the prompt up to the reader"},
               {"top_logit", "logits", "mean of the largest logit"}},
              {}};
  at::Tensor largest = at::nanmean(all.at("top_logit"), {2, 3});
  for (int64_t l : read_)
    for (int64_t h : heads_of(l)) {
      std::vector<Cell> row = {l, h, input_.model.mixer_info(l).kind};
      for (const at::Tensor* t : {&by_head, &seen, &largest}) {
        double v = (*t)[l][h].item<double>();
        row.push_back(std::isnan(v) ? Cell{} : Cell{v});
      }
      table.rows.push_back(std::move(row));
    }
  result.artifacts.push_back(std::move(table));
  auto by_prompt = [](const at::Tensor& t) {
    at::Tensor v = at::nanmean(t, {0, 1, 3}).contiguous();
    return std::vector<double>(v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel());
  };
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  result.summary.push_back(engine::summarise(
      "next_on_top", by_prompt(next), "share",
      "readings that put the token following the reader on top, mean over layers, heads and positions", seed));
  result.summary.push_back(engine::summarise(
      "seen_on_top", by_prompt(all.at("seen")), "share",
      "readings whose top token stands in the prompt up to the reader, mean over layers, heads and positions", seed + 1));
  std::string read = query_ == "own" ? "Read with its own query" : "Read with the next token's query";
  for (const engine::TopHead& t : engine::top_heads(by_head, 1))
    result.findings.push_back(read + ", the state of head " + engine::head_name(t.layer, t.head) +
                              " foretells most: it puts the token that follows on top at a share of " +
                              engine::short_number(t.value) + " of the positions.");
  for (const engine::TopHead& t : engine::top_heads(seen, 1))
    result.findings.push_back(read + ", the state of head " + engine::head_name(t.layer, t.head) +
                              " recalls most: at a share of " + engine::short_number(t.value) +
                              " of the positions its top token stands in the prompt already.");
  if (result.findings.empty()) result.findings.push_back("No head was read at any position.");
}

void StateLensRun::add_key_findings(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const {
  result.summary.push_back(
      engine::plain_number("key_directions", static_cast<double>(directions_), "", "most of any layer"));
  at::Tensor norm = all.at("row_norm").select(2, 0), id = all.at("top_id").select(2, 0);   // [layer, head, d_k]
  at::Tensor strongest = at::nan_to_num(norm, -1.0).amax(-1);
  strongest = at::where(strongest < 0, at::full_like(strongest, kNaN), strongest);
  for (const engine::TopHead& t : engine::top_heads(strongest, 1)) {
    int64_t key = at::nan_to_num(norm[t.layer][t.head], -1.0).argmax().item<int64_t>();
    int64_t token = static_cast<int64_t>(id[t.layer][t.head][key].item<double>());
    result.findings.push_back("After the first prompt, key direction " + std::to_string(key) + " of head " +
                              engine::head_name(t.layer, t.head) + " holds most (length " + engine::short_number(t.value) +
                              "); read alone it promotes '" + engine::token_texts(input_.tokenizer, {token})[0] + "'.");
  }
  if (result.findings.empty()) result.findings.push_back("No head was read.");
}

AnalysisInfo state_lens_info() {
  AnalysisInfo info;
  info.name = "state_lens";
  info.title = "State lens";
  info.definition =
      "The logits a recurrent head would write were its state S_t read with a given query: W_U W_O(gate · norm(S_t'q)), the "
      "final norm's gain kept and its divisor frozen at the reader's position.";
  info.source = "the logit lens (nostalgebraist 2020) on hook_state";
  info.prompts = AnalysisInfo::Prompts::kClean;
  std::vector<std::string> axes = {"layer", "head", "prompt", "pos|d_k"};
  info.outputs = {
      {"top_id", axes, "id of the token whose logit the reading raises most"},
      {"top_logit", axes, "what the reading would add to that token's logit"},
      {"next_rank", {"layer", "head", "prompt", "pos"},
       "tokens with a strictly larger logit than the one that follows the reader"},
      {"seen", {"layer", "head", "prompt", "pos"}, "1 where the top token stands in the prompt up to the reader, else 0"},
      {"row_norm", {"layer", "head", "prompt", "d_k"}, "length of the state's row: what the key direction holds"}};
  return info;
}

}  // namespace

void register_state_lens(Registry& registry) {
  AnalysisInfo info = state_lens_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<StateLensRun>(input, info); }});
}

}  // namespace microtome::analyses
