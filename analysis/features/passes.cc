#include "analysis/features/passes.h"

#include <cmath>

#include "analysis/engine/arrays.h"
#include "core/base/status.h"

namespace microtome::analyses {
namespace {

using engine::find_array;

// Bounds of the sample for co-activation, over the whole corpus.
constexpr double kMostEntries = int64_t{1} << 24, kMostPairs = int64_t{1} << 31;

template <class T>
NamedArray list(std::string name, std::vector<std::string> axes, std::vector<int64_t> shape, std::vector<T> data) {
  NamedArray a;
  a.name = std::move(name);
  a.axes = std::move(axes);
  a.shape = std::move(shape);
  a.data = std::move(data);
  return a;
}
template <class T>
NamedArray list(std::string name, std::vector<T> data) {
  const int64_t n = static_cast<int64_t>(data.size());
  return list(std::move(name), {"entry"}, {n}, std::move(data));
}

template <class T>
const std::vector<T>& read(const std::vector<NamedArray>& item, const char* name) {
  const auto* data = std::get_if<std::vector<T>>(&find_array(item, name).data);
  if (!data) throw Error(StatusCode::kInternal, std::string("the item's array '") + name + "' is of another type");
  return *data;
}

void same_length(size_t a, size_t b) {
  if (a != b) throw Error(StatusCode::kInternal, "the arrays of an item do not fit each other");
}

std::vector<int32_t> slots(int64_t d_sae, const std::vector<int64_t>& features) {
  std::vector<int32_t> out(static_cast<size_t>(d_sae), -1);
  for (size_t i = 0; i < features.size(); ++i) out[static_cast<size_t>(features[i])] = static_cast<int32_t>(i);
  return out;
}

}  // namespace

FirstPass::FirstPass(const PassOptions& options, const std::vector<int64_t>& candidates)
    : options_(options), candidates_(candidates), slot_(slots(options.d_sae, candidates)), moments_(options.d_sae),
      peaks_(static_cast<int64_t>(candidates.size()), options.examples) {}

std::vector<NamedArray> FirstPass::scan(const CorpusScan& corpus, const CorpusScan::Block& block, double allowed, int64_t rows, Progress& progress) const {
  Moments moments(options_.d_sae);
  Best<Peak> best(peaks_.slots(), options_.examples);
  SequencePeaks peaks(options_.d_sae);
  TokenSample sample(options_.seed, static_cast<int64_t>(allowed * kMostEntries), static_cast<int64_t>(allowed * kMostPairs));
  corpus.run(block, rows, progress, [&](const SequenceCodes& codes) {
    moments.add(codes);
    if (options_.coactive) sample.add(codes);
    peaks.each(codes, [&](int32_t feature, float value, int32_t position) {
      const int32_t slot = slot_[static_cast<size_t>(feature)];
      if (slot < 0) return;
      const Peak peak{value, codes.first_token + position};
      if (peaks_.worth(slot, peak)) best.push(slot, peak);
    });
  });
  std::vector<int64_t> slot, token, ends, features;
  std::vector<float> value;
  for (int64_t s = 0; s < best.slots(); ++s)
    for (const Peak& p : best.sorted(s)) {
      slot.push_back(s);
      token.push_back(p.token);
      value.push_back(p.value);
    }
  sample.write(ends, features);
  return {list("tokens", std::vector<int64_t>{moments.tokens, sample.dropped() ? 1 : 0}), list("count", std::move(moments.count)), list("sum", std::move(moments.sum)),
          list("max", std::move(moments.max)), list("slot", std::move(slot)), list("token", std::move(token)), list("value", std::move(value)),
          list("sample_ends", std::move(ends)), list("sample_features", std::vector<float>(features.begin(), features.end()))};
}

void FirstPass::add(const std::vector<NamedArray>& item) {
  const auto& tokens = read<int64_t>(item, "tokens");
  const auto &count = read<int64_t>(item, "count"), &slot = read<int64_t>(item, "slot"), &token = read<int64_t>(item, "token");
  const auto& sum = read<double>(item, "sum");
  const auto &max = read<float>(item, "max"), &value = read<float>(item, "value");
  same_length(tokens.size(), 2);
  same_length(count.size(), moments_.count.size());
  same_length(sum.size(), count.size());
  same_length(max.size(), count.size());
  same_length(slot.size(), token.size());
  same_length(slot.size(), value.size());
  moments_.tokens += tokens[0];
  dropped_ = dropped_ || tokens[1] != 0;
  for (size_t k = 0; k < count.size(); ++k) {
    moments_.count[k] += count[k];
    moments_.sum[k] += sum[k];
    moments_.max[k] = std::max(moments_.max[k], max[k]);
  }
  for (size_t i = 0; i < slot.size(); ++i) {
    if (slot[i] < 0 || slot[i] >= peaks_.slots()) throw Error(StatusCode::kInternal, "an item names a feature that is not looked at");
    peaks_.push(slot[i], {value[i], token[i]});
  }
  const int64_t before = static_cast<int64_t>(features_.size());
  for (int64_t end : read<int64_t>(item, "sample_ends")) ends_.push_back(before + end);
  // Kept as floats, in half the space: numbers of features are far below 2^24.
  for (float f : read<float>(item, "sample_features")) features_.push_back(static_cast<int64_t>(f));
}

std::vector<Peak> FirstPass::peaks(int64_t feature) const {
  const int32_t slot = slot_[static_cast<size_t>(feature)];
  return slot < 0 ? std::vector<Peak>{} : peaks_.sorted(slot);
}

struct SecondPass::Local {
  Local(int64_t slots, int64_t bins, int64_t band_slots, int64_t most) : histogram(static_cast<size_t>(slots * bins)), drawn(band_slots, most) {}
  std::vector<float> histogram;
  Best<Drawn> drawn;
  std::vector<int64_t> slot, rank;     // of the strongest examples of the block
  std::vector<float> activations;      // of their windows, one after the other
};

SecondPass::SecondPass(const PassOptions& options, const FirstPass& first, const CorpusScan& corpus, std::vector<int64_t> chosen)
    : options_(options), corpus_(corpus), chosen_(std::move(chosen)), slot_(slots(options.d_sae, chosen_)),
      histogram_(chosen_.size() * static_cast<size_t>(options.bins)), top_(chosen_.size()),
      drawn_(static_cast<int64_t>(chosen_.size()) * options.bands, options.band_examples) {
  for (size_t s = 0; s < chosen_.size(); ++s) {
    max_.push_back(first.moments().max[static_cast<size_t>(chosen_[s])]);
    const std::vector<Peak> peaks = first.peaks(chosen_[s]);
    for (size_t k = 0; k < peaks.size(); ++k) {
      wanted_.push_back({peaks[k].token, corpus.sequence_of(peaks[k].token), static_cast<int32_t>(s), static_cast<int32_t>(k)});
      top_[s].push_back({"top", peaks[k].token, {}});
    }
  }
  std::sort(wanted_.begin(), wanted_.end(), [](const Wanted& a, const Wanted& b) { return a.sequence != b.sequence ? a.sequence < b.sequence : a.slot < b.slot; });
  const size_t sequences = corpus.corpus().sequences.size();
  wanted_of_.assign(sequences + 1, wanted_.size());
  for (size_t i = wanted_.size(); i-- > 0;) wanted_of_[static_cast<size_t>(wanted_[i].sequence)] = i;
  for (size_t s = sequences; s-- > 0;) wanted_of_[s] = std::min(wanted_of_[s], wanted_of_[s + 1]);
}

std::pair<int64_t, int64_t> SecondPass::window(int64_t token) const {
  const int64_t s = corpus_.sequence_of(token), begin = corpus_.first_token(s), end = corpus_.first_token(s + 1);
  const int64_t from = std::max(begin, token - options_.context);
  return {from, std::min(end, token + options_.context + 1) - from};
}

void SecondPass::look(const SequenceCodes& codes, Local& local) const {
  // Entries of chosen features, a feature's together, by position.
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < codes.value.size(); ++i)
    if (slot_[static_cast<size_t>(codes.feature[i])] >= 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return codes.feature[a] < codes.feature[b]; });
  const auto wanted_begin = wanted_.begin() + static_cast<int64_t>(wanted_of_[static_cast<size_t>(codes.sequence)]);
  const auto wanted_end = wanted_.begin() + static_cast<int64_t>(wanted_of_[static_cast<size_t>(codes.sequence) + 1]);
  std::vector<Drawn> best(static_cast<size_t>(options_.bands));
  std::vector<bool> has(best.size());
  for (size_t i = 0, end; i < order.size(); i = end) {
    const int32_t feature = codes.feature[order[i]], slot = slot_[static_cast<size_t>(feature)];
    end = i;
    while (end < order.size() && codes.feature[order[end]] == feature) ++end;
    auto activations = [&](int64_t token) {
      auto [from, count] = window(token);
      std::vector<float> out(static_cast<size_t>(count), 0.f);
      for (size_t k = i; k < end; ++k) {
        const int64_t at = codes.first_token + codes.position[order[k]] - from;
        if (at >= 0 && at < count) out[static_cast<size_t>(at)] = codes.value[order[k]];
      }
      return out;
    };
    const auto wanted = std::lower_bound(wanted_begin, wanted_end, slot, [](const Wanted& w, int32_t s) { return w.slot < s; });
    const bool shown = wanted != wanted_end && wanted->slot == slot;
    if (shown) {
      local.slot.push_back(slot);
      local.rank.push_back(wanted->rank);
      const std::vector<float> a = activations(wanted->token);
      local.activations.insert(local.activations.end(), a.begin(), a.end());
    }
    const double max = static_cast<double>(max_[static_cast<size_t>(slot)]);
    auto part = [&](float value, int64_t parts) { return std::clamp<int64_t>(static_cast<int64_t>(static_cast<double>(value) / max * static_cast<double>(parts)), 0, parts - 1); };
    has.assign(has.size(), false);
    for (size_t k = i; k < end; ++k) {
      const float value = codes.value[order[k]];
      local.histogram[static_cast<size_t>(slot * options_.bins + part(value, options_.bins))] += 1;
      if (shown || options_.bands == 0) continue;
      const size_t band = static_cast<size_t>(part(value, options_.bands));
      const int64_t token = codes.first_token + codes.position[order[k]];
      Drawn d{lot_of(options_.seed, feature, token), token};
      if (has[band] && !Drawn::better(d, best[band])) continue;
      has[band] = true;
      best[band] = d;
    }
    for (size_t band = 0; band < best.size(); ++band) {
      const int64_t at = band_slot(slot, static_cast<int64_t>(band));
      if (!has[band] || !drawn_.worth(at, best[band]) || !local.drawn.worth(at, best[band])) continue;
      Drawn d = best[band];
      d.activations = activations(d.token);
      local.drawn.push(at, std::move(d));
    }
  }
}

std::vector<NamedArray> SecondPass::scan(const CorpusScan::Block& block, int64_t rows, Progress& progress) const {
  const int64_t n = static_cast<int64_t>(chosen_.size());
  Local local(n, options_.bins, n * options_.bands, options_.band_examples);
  corpus_.run(block, rows, progress, [&](const SequenceCodes& codes) { look(codes, local); });
  std::vector<int64_t> drawn_at, drawn_token;
  std::vector<float> drawn_activations;
  for (int64_t at = 0; at < local.drawn.slots(); ++at)
    for (const Drawn& d : local.drawn.sorted(at)) {
      drawn_at.push_back(at);
      drawn_token.push_back(d.token);
      drawn_activations.insert(drawn_activations.end(), d.activations.begin(), d.activations.end());
    }
  return {list("histogram", {"feature", "bin"}, {n, options_.bins}, std::move(local.histogram)),
          list("slot", std::move(local.slot)), list("rank", std::move(local.rank)), list("activations", std::move(local.activations)),
          list("drawn_at", std::move(drawn_at)), list("drawn_token", std::move(drawn_token)), list("drawn_activations", std::move(drawn_activations))};
}

void SecondPass::add(const std::vector<NamedArray>& item) {
  const auto& histogram = read<float>(item, "histogram");
  same_length(histogram.size(), histogram_.size());
  for (size_t i = 0; i < histogram.size(); ++i) histogram_[i] += static_cast<double>(histogram[i]);
  auto take = [&](const std::vector<float>& all, size_t& from, int64_t token) {
    if (token < 0 || token >= corpus_.tokens()) throw Error(StatusCode::kInternal, "an item names a token that the corpus does not have");
    const size_t count = static_cast<size_t>(window(token).second);
    if (all.size() - from < count) same_length(0, 1);
    from += count;
    return std::vector<float>(all.begin() + static_cast<int64_t>(from - count), all.begin() + static_cast<int64_t>(from));
  };
  const auto &slot = read<int64_t>(item, "slot"), &rank = read<int64_t>(item, "rank");
  same_length(slot.size(), rank.size());
  size_t from = 0;
  for (size_t i = 0; i < slot.size(); ++i) {
    Shown& shown = top_.at(static_cast<size_t>(slot[i])).at(static_cast<size_t>(rank[i]));
    shown.activations = take(read<float>(item, "activations"), from, shown.token);
  }
  const auto &at = read<int64_t>(item, "drawn_at"), &token = read<int64_t>(item, "drawn_token");
  same_length(at.size(), token.size());
  from = 0;
  for (size_t i = 0; i < at.size(); ++i) {
    if (at[i] < 0 || at[i] >= drawn_.slots()) same_length(0, 1);
    Drawn d{lot_of(options_.seed, chosen_[static_cast<size_t>(at[i] / options_.bands)], token[i]), token[i], take(read<float>(item, "drawn_activations"), from, token[i])};
    drawn_.push(at[i], std::move(d));
  }
}

SecondPass::Feature SecondPass::feature(size_t slot) const {
  Feature out;
  for (int64_t b = 0; b < options_.bins; ++b) out.histogram.push_back(std::llround(histogram_[slot * static_cast<size_t>(options_.bins) + static_cast<size_t>(b)]));
  out.shown = top_[slot];
  auto text = [&](int64_t edge) {
    char digits[16];
    std::snprintf(digits, sizeof digits, "%.2f", static_cast<double>(edge) / static_cast<double>(options_.bands));
    return std::string(digits);
  };
  for (int64_t band = options_.bands; band-- > 0;)
    for (Drawn& d : drawn_.sorted(band_slot(static_cast<int64_t>(slot), band)))
      out.shown.push_back({text(band) + "–" + text(band + 1), d.token, std::move(d.activations)});
  return out;
}

}  // namespace microtome::analyses
