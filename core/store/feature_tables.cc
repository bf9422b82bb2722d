#include "core/store/feature_tables.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/base/quote.h"
#include "core/base/status.h"
#include "core/store/feature_pack.h"

namespace microtome {
namespace {

constexpr size_t kAround = 40;                 // bytes of text shown on either side of a match
constexpr char kBetween = '\x1e';              // between two examples in feature_texts: tokens may hold line breaks

std::string small(std::string s) {
  for (char& c : s)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return s;
}

void bind_real(Statement& s, double v) {
  if (std::isnan(v)) s.bind_null();
  else s.bind(v);
}

double real_or_nan(const Statement& s, int column) { return s.is_null(column) ? std::numeric_limits<double>::quiet_NaN() : s.real(column); }

std::string like_pattern(const std::string& text) {
  std::string out = "%";
  for (char c : text) {
    if (c == '%' || c == '_' || c == '\\') out += '\\';
    out += c;
  }
  return out + "%";
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// The example of `text` in which `wanted` stands first, cut to what is around it; without one the beginning of the first.
std::string around(const std::string& text, const std::string& wanted) {
  const size_t found = wanted.empty() ? std::string::npos : small(text).find(small(wanted));
  const size_t at = found == std::string::npos ? 0 : found, length = found == std::string::npos ? kAround : wanted.size();
  const size_t before = at == 0 ? std::string::npos : text.rfind(kBetween, at - 1);
  size_t from = before == std::string::npos ? 0 : before + 1;
  if (at > from + kAround) from = at - kAround;
  const size_t end = std::min(at + length, text.size());
  size_t to = std::min({text.find(kBetween, end), end + kAround, text.size()});
  while (from < at && continues(text[from])) ++from;
  while (to > end && to < text.size() && continues(text[to])) --to;
  return text.substr(from, to - from);
}

const char* column_of(FeatureQuery::Field field) {
  switch (field) {
    case FeatureQuery::Field::kDensity: return "f.density";
    case FeatureQuery::Field::kMax: return "f.max";
    case FeatureQuery::Field::kMean: return "f.mean";
    case FeatureQuery::Field::kIndex: break;
  }
  return "f.feature";
}

const char* sign_of(FeatureQuery::Compare compare) {
  switch (compare) {
    case FeatureQuery::Compare::kLess: return "<";
    case FeatureQuery::Compare::kLessEqual: return "<=";
    case FeatureQuery::Compare::kMore: return ">";
    case FeatureQuery::Compare::kMoreEqual: return ">=";
    case FeatureQuery::Compare::kEqual: break;
  }
  return "=";
}

}  // namespace

std::string plain_token(const std::string& token) {
  size_t from = 0, to = token.size();
  auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (from < to && blank(token[from])) ++from;
  while (to > from && blank(token[to - 1])) --to;
  return small(token.substr(from, to - from));
}

PackedFeatures pack_features(const FeatureSet& set, const std::string& where) {
  PackedFeatures out;
  out.vocabulary.assign(set.token_texts.begin(), set.token_texts.end());
  auto text_of = [&](int64_t id) {
    auto it = set.token_texts.find(id);
    return it == set.token_texts.end() ? "#" + std::to_string(id) : it->second;
  };
  int64_t before = -1;
  out.rows.reserve(set.features.size());
  for (const FeatureSet::Feature& f : set.features) {
    if (f.index <= before) throw Error(StatusCode::kInternal, "features of a set are not ascending by index", where);
    before = f.index;
    PackedFeatures::Row row{f.index, f.label, {}, {}, f.density, f.max, f.mean, pack_feature(f, where), {}};
    std::set<std::string> tokens;
    for (const FeatureSet::Example& e : f.examples) {
      for (int64_t id : e.ids) row.text += text_of(id);
      row.text += kBetween;
      if (e.strongest < 0 || e.strongest >= static_cast<int64_t>(e.ids.size())) continue;
      std::string strongest = text_of(e.ids[static_cast<size_t>(e.strongest)]);
      if (row.token.empty()) row.token = strongest;
      tokens.insert(std::move(strongest));
    }
    row.tokens.assign(tokens.begin(), tokens.end());
    out.rows.push_back(std::move(row));
  }
  return out;
}

FeatureLabels labels_of_run(Database& db, int64_t run_id) {
  FeatureLabels out;
  Statement s(db, "SELECT a.name, f.feature, f.label FROM features f JOIN artifacts a ON a.run_id = f.run_id AND a.position = f.artifact "
                  "WHERE f.run_id = ? AND f.label <> ''");
  s.bind(run_id);
  while (s.step()) out[{s.text(0), s.integer(1)}] = s.text(2);
  return out;
}

void insert_features(Database& db, int64_t run_id, int64_t artifact, const std::string& artifact_name, const PackedFeatures& packed, const FeatureLabels& kept) {
  Statement feature(db, "INSERT INTO features (run_id, artifact, feature, label, density, max, mean, token) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  Statement detail(db, "INSERT INTO feature_details (id, body) VALUES (?, ?)");
  Statement text(db, "INSERT INTO feature_texts (id, text) VALUES (?, ?)");
  Statement token(db, "INSERT INTO feature_tokens (id, token, plain) VALUES (?, ?, ?)");
  Statement word(db, "INSERT INTO feature_vocabulary (run_id, artifact, token, text) VALUES (?, ?, ?, ?)");
  for (const PackedFeatures::Row& r : packed.rows) {
    auto label = kept.find({artifact_name, r.index});
    feature.reset().bind(run_id).bind(artifact).bind(r.index).bind(r.label.empty() && label != kept.end() ? label->second : r.label);
    for (double v : {r.density, r.max, r.mean}) bind_real(feature, v);
    feature.bind(r.token).run();
    const int64_t id = db.last_insert_id();
    detail.reset().bind(id).bind_blob(r.body).run();
    text.reset().bind(id).bind(r.text).run();
    for (const std::string& t : r.tokens) token.reset().bind(id).bind(t).bind(plain_token(t)).run();
  }
  for (const auto& [id, t] : packed.vocabulary)
    word.reset().bind(run_id).bind(artifact).bind(id).bind_blob({reinterpret_cast<const uint8_t*>(t.data()), t.size()}).run();
  for (Statement* s : {&feature, &detail, &text, &token, &word}) s->reset();
}

void load_features(Database& db, int64_t run_id, int64_t artifact, FeatureSet& set, const std::string& where, int64_t index) {
  const bool one = index >= 0;
  Statement s(db, std::string("SELECT f.feature, f.label, f.density, f.max, f.mean, d.body FROM features f JOIN feature_details d ON d.id = f.id "
                              "WHERE f.run_id = ? AND f.artifact = ?") + (one ? " AND f.feature = ?" : " ORDER BY f.feature"));
  s.bind(run_id).bind(artifact);
  if (one) s.bind(index);
  std::set<int64_t> ids;
  while (s.step()) {
    FeatureSet::Feature f;
    f.index = s.integer(0);
    f.label = s.text(1);
    f.density = real_or_nan(s, 2);
    f.max = real_or_nan(s, 3);
    f.mean = real_or_nan(s, 4);
    unpack_feature(s.blob(5), f, where);
    if (one) {
      for (const auto* scores : {&f.top_logits, &f.bottom_logits})
        for (const FeatureSet::TokenScore& t : *scores) ids.insert(t.id);
      for (const FeatureSet::Example& e : f.examples) ids.insert(e.ids.begin(), e.ids.end());
    }
    set.features.push_back(std::move(f));
  }
  auto add = [&](const Statement& row) {
    const std::span<const uint8_t> text = row.blob(1);
    set.token_texts[row.integer(0)] = std::string(text.begin(), text.end());
  };
  Statement words(db, std::string("SELECT token, text FROM feature_vocabulary WHERE run_id = ? AND artifact = ?") + (one ? " AND token = ?" : ""));
  if (!one) {
    words.bind(run_id).bind(artifact);
    while (words.step()) add(words);
    return;
  }
  for (int64_t id : ids)
    if (words.reset().bind(run_id).bind(artifact).bind(id).step()) add(words);
}

std::vector<FeatureRow> find_features(Database& db, int64_t run_id, int64_t artifact, const FeatureQuery& q, int64_t& total) {
  std::string sql = "SELECT f.id FROM features f", where = " WHERE f.run_id = ? AND f.artifact = ?";
  if (!q.texts.empty()) sql += " JOIN feature_texts t ON t.id = f.id";
  for (const FeatureQuery::Bound& b : q.bounds) where += std::string(" AND ") + column_of(b.field) + " " + sign_of(b.compare) + " ?";
  for (const std::string& l : q.labels) where += l.empty() ? " AND f.label <> ''" : " AND f.label LIKE ? ESCAPE '\\'";
  for (const FeatureQuery::Token& t : q.tokens)
    where += std::string(" AND EXISTS (SELECT 1 FROM feature_tokens k WHERE k.id = f.id AND ") + (t.exact ? "k.token" : "k.plain") + " = ?)";
  for (size_t i = 0; i < q.texts.size(); ++i) where += " AND (f.label LIKE ? ESCAPE '\\' OR t.text LIKE ? ESCAPE '\\')";
  const bool down = q.descending;
  sql += where + " ORDER BY " + column_of(q.sort) + (down ? " DESC NULLS LAST" : " NULLS LAST") + (q.sort == FeatureQuery::Field::kIndex ? "" : ", f.feature");
  std::vector<int64_t> found;
  {
    Statement s(db, sql);
    s.bind(run_id).bind(artifact);
    for (const FeatureQuery::Bound& b : q.bounds) s.bind(b.value);
    for (const std::string& l : q.labels)
      if (!l.empty()) s.bind(like_pattern(l));
    for (const FeatureQuery::Token& t : q.tokens) s.bind(t.exact ? t.text : plain_token(t.text));
    for (const std::string& t : q.texts) s.bind(like_pattern(t)).bind(like_pattern(t));
    while (s.step()) found.push_back(s.integer(0));
  }
  total = static_cast<int64_t>(found.size());
  const int64_t from = std::clamp<int64_t>(q.offset, 0, total), to = q.limit > 0 ? std::min(total, from + std::min(q.limit, total)) : total;
  std::vector<FeatureRow> out;
  Statement row(db, "SELECT f.feature, f.label, f.density, f.max, f.mean, f.token, t.text FROM features f JOIN feature_texts t ON t.id = f.id WHERE f.id = ?");
  const std::string wanted = !q.texts.empty() ? q.texts[0] : !q.tokens.empty() ? q.tokens[0].text : "";
  for (int64_t i = from; i < to; ++i) {
    if (!row.reset().bind(found[static_cast<size_t>(i)]).step()) continue;
    out.push_back({row.integer(0), row.text(1), real_or_nan(row, 2), real_or_nan(row, 3), real_or_nan(row, 4), row.text(5), around(row.text(6), wanted)});
  }
  return out;
}

}  // namespace microtome
