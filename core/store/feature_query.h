// feature_query.h — what is asked of the features of a run, and the one small language in which a person asks it.
//
//   capital of        each word must stand in an example's text or in the label, capitals or not (ASCII)
//   "capital of"      the same for a stretch of text, blanks included; \" \\ \n \t inside
//   token:"  the"     one of the examples is strongest on exactly this token
//   token:the         the same, blanks around the token and capitals aside
//   label:"days"      the label holds this; label:"" asks for features that have a label
//   density>0.01      density, max, mean, index with < <= > >= =
//   sort:max          by density, max or mean (largest first) or index (smallest first); sort:-max turns it round
//
// All parts must hold. Free of LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace microtome {

struct FeatureQuery {
  enum class Field { kIndex, kDensity, kMax, kMean };
  enum class Compare { kLess, kLessEqual, kMore, kMoreEqual, kEqual };
  struct Token { std::string text; bool exact = true; };
  struct Bound { Field field = Field::kDensity; Compare compare = Compare::kMore; double value = 0; };

  std::vector<std::string> texts, labels;
  std::vector<Token> tokens;
  std::vector<Bound> bounds;
  Field sort = Field::kIndex;
  bool descending = false;
  int64_t limit = 0, offset = 0;               // rows given; limit 0: all
};

// Throws Error(kBadInput) naming the place and what can stand there. Limit and offset stay as they are.
FeatureQuery parse_feature_query(const std::string& text);
// "density", "-max" …, as behind sort: above. Throws Error(kBadInput) listing the fields.
void set_sort(FeatureQuery& query, const std::string& text);
const char* field_name(FeatureQuery::Field field);   // "index", "density", "max", "mean"

// One feature that fits: enough for a list.
struct FeatureRow {
  int64_t index = 0;
  std::string label;
  double density = 0, max = 0, mean = 0;
  std::string token;                           // the strongest token of its strongest example
  std::string text;                            // where the first text asked for stands, with what is around it; else the strongest example's
};

}  // namespace microtome
