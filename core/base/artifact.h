// artifact.h — what an analysis makes: tables, arrays with named axes, series, text, circuits. Never pictures: views
// belong to the kind of artifact. Free of LibTorch, so that store, report and command line need none of it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/base/attribution_graph.h"
#include "core/base/feature_set.h"

namespace microtome {

// A host array, row-major. shape.size() == axes.size(); the data holds product(shape) numbers. Missing cells are NaN.
struct NamedArray {
  std::string name;                          // as analyses.md gives it, e.g. "effect"
  std::vector<std::string> axes;             // e.g. {"layer", "pos"}
  std::vector<int64_t> shape;
  std::variant<std::vector<float>, std::vector<double>, std::vector<int64_t>> data;
  std::string unit;                          // "", "nats", "logits", "tokens" …
  std::string help;                          // one sentence: what the numbers are, and the source
  int64_t size() const;
  double at(int64_t flat) const;             // any type, as a double
};

using Cell = std::variant<std::monostate, int64_t, double, std::string>;

struct Column {
  std::string name, unit, help;
};

struct Table {
  std::string name, title;
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;       // each as long as columns
};

// Arrays that belong together, with what a view needs to label them.
struct TensorMap {
  std::string name, title;
  std::vector<NamedArray> arrays;
  // Axis name → a label for every index, e.g. "pos" → token texts; absent: the number is the label.
  std::map<std::string, std::vector<std::string>> axis_labels;
  // How to look at an array: array name → "sequential" (from 0), "diverging" (white at 0), "pattern" (query × key).
  std::map<std::string, std::string> looks;
};

struct Series {
  struct Line {
    std::string name;
    std::vector<double> x, y;
  };
  std::string name, title, x_label, y_label;
  std::vector<Line> lines;
};

struct Text {
  std::string name, title, markdown;
};

struct Circuit {
  struct Node { std::string name; bool in_graph = true; double score = 0; };
  struct Edge { std::string from, to; bool in_graph = true; double score = 0; };   // to: "a1.h0<q>", "m2", "logits"
  struct Group { std::string name; std::vector<std::string> nodes; };              // named by a person or an analysis
  std::string name, title;
  int64_t n_layers = 0, n_heads = 0, d_model = 0;
  bool parallel_attn_mlp = false;
  std::vector<Node> nodes;
  std::vector<Edge> edges;
  std::vector<Group> groups;
};

using Artifact = std::variant<Table, TensorMap, Series, Text, Circuit, FeatureSet, AttributionGraph>;
const std::string& artifact_name(const Artifact& a);
const char* artifact_kind(const Artifact& a);   // "table", "tensors", "series", "text", "circuit", "features", "attribution_graph"

// One number of a summary. low/high: a 95 % bootstrap interval over prompts where n > 1, else NaN.
struct SummaryItem {
  std::string name;
  double value = 0;
  std::string unit, help;
  double low, high;
  int64_t n = 0;
};

// What finished: summary first, then artifacts; findings are plain sentences a newcomer can read.
struct AnalysisResult {
  std::vector<SummaryItem> summary;
  std::vector<std::string> findings;
  std::vector<std::string> warnings;
  std::vector<Artifact> artifacts;
};

}  // namespace microtome
