#include "app/report/circuit_svg.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

#include "app/layout/circuit_ranks.h"
#include "app/layout/edge_curves.h"
#include "app/report/html.h"

namespace microtome::report {
namespace {

using Kind = CircuitPlace::Kind;
using layout::Point;

constexpr double kRadius = 17, kBoxHeight = 13, kSocketGap = 8, kLetter = 6.2;
constexpr size_t kNodesWithoutEdges = 200;
constexpr double kWidest = 1000;         // of a page about 1,200 wide, with labels at the left and curves at the right

// var(--…) are the page's; a file of its own gets their light values, since many programs know no CSS variables.
constexpr const char* kRules = R"css(.cg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;font-size:10.5px;fill:var(--fg)}
.cg .cn{text-anchor:middle}.cg .cl{fill:var(--dim);font-size:11px}.cg .gt{font-size:11px;font-weight:600;paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}
.cb{fill:var(--soft)}.ce{fill:none}.cp{stroke:var(--pos)}.cm{stroke:var(--neg)}.cz{stroke:var(--dim)}
.nd{fill:var(--bg);stroke:var(--dim);stroke-width:1.25}.nf{fill:var(--soft);stroke:var(--dim);stroke-width:1.25}
.nk{fill:var(--softmax-bg);stroke:var(--softmax);stroke-width:1.5}.nr{fill:var(--recurrent-bg);stroke:var(--recurrent);stroke-width:1.5}
.so{stroke:var(--bg);stroke-width:.75}.sr{fill:var(--bg);stroke-width:1.5}.gi{stroke:var(--bg)}.gl2{fill:none;stroke-linecap:round;stroke-linejoin:round}
.pg0{fill:var(--c2)}.pg1{fill:var(--c3)}.pg2{fill:var(--c4)}.pg3{fill:var(--c7)}.pg4{fill:var(--c6)}.pg5{fill:var(--c5)}
.pr0{stroke:var(--c2)}.pr1{stroke:var(--c3)}.pr2{stroke:var(--c4)}.pr3{stroke:var(--c7)}.pr4{stroke:var(--c6)}.pr5{stroke:var(--c5)}
.cg .ga0{stroke:var(--c7)}.cg .ga1{stroke:var(--c0)}.cg .ga2{stroke:var(--c4)}.cg .ga3{stroke:var(--c1)}.cg .ga4{stroke:var(--c2)}.cg .ga5{stroke:var(--c3)}
.cg .gf0{fill:var(--c7)}.cg .gf1{fill:var(--c0)}.cg .gf2{fill:var(--c4)}.cg .gf3{fill:var(--c1)}.cg .gf4{fill:var(--c2)}.cg .gf5{fill:var(--c3)}
)css";
constexpr std::pair<const char*, const char*> kLight[] = {
    {"bg", "#ffffff"},      {"fg", "#1b1f27"},         {"dim", "#5c6470"},       {"soft", "#f4f6f9"},         {"pos", "#2166ac"}, {"neg", "#b2182b"},
    {"softmax", "#9a5b00"}, {"softmax-bg", "#fbe7c6"}, {"recurrent", "#007a5e"}, {"recurrent-bg", "#d5efeb"}, {"c0", "#0072b2"},  {"c1", "#d55e00"},
    {"c2", "#009e73"},      {"c3", "#cc79a7"},         {"c4", "#8f7400"},        {"c5", "#3a9bd9"},           {"c6", "#555555"},  {"c7", "#7b4fb5"}};

std::string standalone_style() {
  std::string s = kRules;
  for (const auto& [name, colour] : kLight) {
    const std::string variable = std::string("var(--") + name + ")";
    for (size_t at = s.find(variable); at != std::string::npos; at = s.find(variable, at)) s.replace(at, variable.size(), colour);
  }
  return s;
}

// The inputs' own colours; a short convolution's input is a ring in the colour of what it feeds.
struct PortLook {
  int colour = 5;
  bool ring = false;
  int order = 100;
};
PortLook port_look(std::string_view port) {
  static constexpr std::string_view kKnown[] = {"q", "k", "v", "beta", "decay", "gate"};
  const bool conv = port.size() > 5 && port.substr(port.size() - 5) == "_conv";
  const std::string_view stem = conv ? port.substr(0, port.size() - 5) : port;
  for (int i = 0; i < 6; ++i)
    if (stem == kKnown[i]) return {i, conv, i + (conv ? 10 : 0)};
  return {5, true, 100};
}

std::string xy(const Point& p) { return coordinate(p.x) + " " + coordinate(p.y); }

class Picture {
 public:
  Picture(const Circuit& circuit, const CircuitLook& look) : c_(circuit), look_(look), index_(circuit) {}

  CircuitPicture make() {
    choose();
    if (nodes_.empty()) return {"", "Nothing belongs to this circuit."};
    arrange();
    std::string body = bands() + groups() + edges() + nodes() + group_names_;
    const double top = min_.y - 12, left = min_.x - 44, width = std::max(max_.x + 12 - left, 420.0);
    const std::string key = legend(left, max_.y + 28, width);
    const double height = max_.y + 28 + legend_height_ - top;
    std::string out = "<svg class=\"cg\" role=\"img\"" + std::string(look_.standalone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "") + " width=\"" +
                      coordinate(width) + "\" height=\"" + coordinate(height) + "\" viewBox=\"" + coordinate(left) + " " + coordinate(top) + " " +
                      coordinate(width) + " " + coordinate(height) + "\" aria-label=\"" + escape(shorten(name(), 200)) + "\">";
    if (look_.standalone)
      out += "<title>" + escape(shorten(name(), 200)) + "</title><style>" + standalone_style() + "</style><rect x=\"" + coordinate(left) + "\" y=\"" +
             coordinate(top) + "\" width=\"" + coordinate(width) + "\" height=\"" + coordinate(height) + "\" fill=\"#ffffff\"/>";
    return {out + body + key + "</svg>", caption()};
  }

 private:
  struct Node {
    std::string_view name;
    CircuitPlace place;
    std::string label;
    std::vector<std::string_view> ports;   // used, from left to right
    double score = std::nan("");
  };

  std::string name() const { return c_.title.empty() ? c_.name.empty() ? "Circuit" : c_.name : c_.title; }

  void choose() {
    const std::vector<size_t> sorted = edges_by_strength(c_, index_);
    belonging_ = sorted.size();
    drawn_.assign(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(std::min(sorted.size(), look_.most_edges)));
    std::vector<char> wanted(index_.names.size(), 0), all(index_.names.size(), 0);
    for (size_t e : sorted) all[static_cast<size_t>(index_.from[e])] = all[static_cast<size_t>(index_.to[e])] = 1;
    for (size_t e : drawn_) {
      wanted[static_cast<size_t>(index_.from[e])] = wanted[static_cast<size_t>(index_.to[e])] = 1;
      if (std::isfinite(c_.edges[e].score)) largest_ = std::max(largest_, std::fabs(c_.edges[e].score));
    }
    std::unordered_map<std::string_view, double> scores;
    std::unordered_map<std::string_view, size_t> position;
    for (size_t i = 0; i < index_.names.size(); ++i) position.emplace(index_.names[i], i);
    size_t alone = 0;
    for (const auto& n : c_.nodes) {
      if (!scores.emplace(n.name, n.score).second || !n.in_graph) continue;
      // Every node that belongs, edge or not, as long as the picture stays readable.
      const size_t i = position.at(n.name);
      if (all[i] && drawn_.size() < belonging_) continue;
      if (!wanted[i] && ++alone <= kNodesWithoutEdges) wanted[i] = 1;
    }
    left_out_nodes_ = alone > kNodesWithoutEdges ? alone - kNodesWithoutEdges : 0;
    number_.assign(index_.names.size(), -1);
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (all[i] && !wanted[i]) ++left_out_nodes_;
      if (!wanted[i]) continue;
      number_[i] = static_cast<int>(nodes_.size());
      Node n{index_.names[i], circuit_place(index_.names[i]), {}, {}, std::nan("")};
      n.label = n.place.kind == Kind::kHead ? std::to_string(n.place.layer) + "." + std::to_string(n.place.head) : shorten(n.name, 16);
      if (const auto it = scores.find(n.name); it != scores.end()) n.score = it->second;
      nodes_.push_back(std::move(n));
    }
    for (size_t e : drawn_) {
      if (index_.ports[e].empty()) continue;
      std::vector<std::string_view>& ports = nodes_[static_cast<size_t>(number_[static_cast<size_t>(index_.to[e])])].ports;
      if (std::find(ports.begin(), ports.end(), index_.ports[e]) == ports.end()) ports.push_back(index_.ports[e]);
    }
    for (Node& n : nodes_) {
      std::sort(n.ports.begin(), n.ports.end(), [](std::string_view a, std::string_view b) {
        const int x = port_look(a).order, y = port_look(b).order;
        return x != y ? x < y : a < b;
      });
      if (n.ports.size() > 12) n.ports.resize(12);
      for (std::string_view p : n.ports) used_[{port_look(p).order, p}] = true;
    }
  }

  double socket(const Node& n, std::string_view port) const {
    const auto at = std::find(n.ports.begin(), n.ports.end(), port);
    if (at == n.ports.end()) return 0;
    return (static_cast<double>(at - n.ports.begin()) - static_cast<double>(n.ports.size() - 1) / 2) * kSocketGap;
  }

  void arrange() {
    std::vector<CircuitPlace> places;
    std::vector<std::pair<int, int>> pairs;
    for (const Node& n : nodes_) places.push_back(n.place);
    for (size_t e : drawn_) pairs.emplace_back(number_[static_cast<size_t>(index_.from[e])], number_[static_cast<size_t>(index_.to[e])]);
    const std::vector<int> ranks = layout::circuit_ranks(places, pairs);
    std::vector<layout::LayoutNode> wishes;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const bool head = nodes_[i].place.kind == Kind::kHead;
      const double wide = static_cast<double>(text_cells(nodes_[i].label)) * kLetter / 2 + 9;
      wishes.push_back({ranks[i], head && nodes_[i].place.head < 4096 ? nodes_[i].place.head : -1, {head ? kRadius : std::max(wide, 20.0), head ? kRadius : kBoxHeight}});
    }
    const layout::Placement placed = layout::place_by_rank(wishes);
    rows_ = placed.ranks;
    row_of_ = placed.rows;
    for (size_t i = 0; i < nodes_.size(); ++i) boxes_.push_back({placed.centres[i], wishes[i].half, placed.rows[i]});
    if (layout::suits_dot(wishes, pairs)) {
      const std::atomic<bool> cancelled{false};
      std::vector<double> x = layout::dot_columns(wishes, pairs, cancelled);
      by_dot_ = x.size() == boxes_.size();
      if (by_dot_) layout::fit_columns(x, wishes, placed.rows, kWidest);
      for (size_t i = 0; by_dot_ && i < boxes_.size(); ++i) boxes_[i].centre.x = x[i];
    }
    std::vector<layout::EdgeEnds> ends;
    for (size_t k = 0; k < drawn_.size(); ++k) {
      const Node& to = nodes_[static_cast<size_t>(pairs[k].second)];
      const double half = boxes_[static_cast<size_t>(pairs[k].second)].half.x;
      ends.push_back({pairs[k].first, pairs[k].second, static_cast<float>(socket(to, index_.ports[drawn_[k]]) / (half * 0.5))});
    }
    const std::vector<float> bends = layout::bends_round_nodes(ends, boxes_);
    for (size_t k = 0; k < ends.size(); ++k) {
      const layout::NodeBox &from = boxes_[static_cast<size_t>(ends[k].from)], &to = boxes_[static_cast<size_t>(ends[k].to)];
      curves_.push_back(layout::edge_bezier(ends[k], from, to, bends.empty() ? layout::ruled_bend(ends[k], from, to) : bends[k]));
    }
    min_ = {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    max_ = {-min_.x, -min_.y};
    const auto grow = [&](const Point& p, double x, double y) {
      min_ = {std::min(min_.x, p.x - x), std::min(min_.y, p.y - y)};
      max_ = {std::max(max_.x, p.x + x), std::max(max_.y, p.y + y)};
    };
    const double room = c_.groups.empty() ? 6 : 26;            // outlines and names of groups
    for (const layout::NodeBox& b : boxes_) grow(b.centre, b.half.x + room, b.half.y + room);
    for (const layout::Bezier& b : curves_)
      for (int k = 1; k < 16; ++k) grow(b.at(k / 16.0), 4, 4);
  }

  // A stripe a layer, every other one shaded, and its name at the left.
  std::string bands() const {
    std::map<int, std::pair<double, double>> layers;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].place.layer < 0) continue;
      const layout::RankRow& row = rows_[static_cast<size_t>(row_of_[i])];
      auto [it, added] = layers.emplace(nodes_[i].place.layer, std::pair(row.top, row.bottom));
      if (!added) it->second = {std::min(it->second.first, row.top), std::max(it->second.second, row.bottom)};
    }
    std::string out;
    bool shade = false;
    for (const auto& [layer, y] : layers) {
      if ((shade = !shade))
        out += "<rect class=\"cb\" x=\"" + coordinate(min_.x - 44) + "\" y=\"" + coordinate(y.first) + "\" width=\"" + coordinate(max_.x - min_.x + 56) +
               "\" height=\"" + coordinate(y.second - y.first) + "\"/>";
      out += "<text class=\"cl\" x=\"" + coordinate(min_.x - 36) + "\" y=\"" + coordinate((y.first + y.second) / 2 + 4) + "\">L" + std::to_string(layer) + "</text>";
    }
    return out;
  }

  // An outline round a group: broad strokes through its nodes and thin ones between them, first in its colour, then a little
  // narrower in the paper's.
  std::string groups() {
    std::unordered_map<std::string_view, size_t> by_name;
    for (size_t i = 0; i < nodes_.size(); ++i) by_name.emplace(nodes_[i].name, i);
    std::string out;
    size_t drawn = 0;
    for (const Circuit::Group& g : c_.groups) {
      std::vector<size_t> in;
      std::vector<char> seen(nodes_.size(), 0);
      for (const auto& n : g.nodes)
        if (const auto it = by_name.find(n); it != by_name.end() && !seen[it->second]++) in.push_back(it->second);
      if (in.empty() || drawn >= 40) continue;
      std::string spots, links;
      for (size_t i : in) {
        const double side = std::max(boxes_[i].half.x - boxes_[i].half.y, 0.05);
        spots += "M" + xy({boxes_[i].centre.x - side, boxes_[i].centre.y}) + "h" + coordinate(2 * side);
      }
      // Joined by a shortest tree (Prim): the nearest that is not joined yet, to its nearest that is.
      struct Open {
        size_t node, nearest;
        double distance;
      };
      const auto apart = [&](size_t i, size_t k) { return std::hypot(boxes_[i].centre.x - boxes_[k].centre.x, boxes_[i].centre.y - boxes_[k].centre.y); };
      const size_t top = *std::min_element(in.begin(), in.end(), [&](size_t i, size_t k) { return boxes_[i].centre.y < boxes_[k].centre.y; });
      std::vector<Open> open;
      for (size_t i : in)
        if (i != in[0]) open.push_back({i, in[0], apart(i, in[0])});
      while (!open.empty()) {
        const auto best = std::min_element(open.begin(), open.end(), [](const Open& x, const Open& y) { return x.distance < y.distance; });
        const size_t joined = best->node;
        links += "M" + xy(boxes_[best->nearest].centre) + "L" + xy(boxes_[joined].centre);
        open.erase(best);
        for (Open& o : open)
          if (const double d = apart(o.node, joined); d < o.distance) o.distance = d, o.nearest = joined;
      }
      const std::string colour = std::to_string(drawn++ % 6);
      for (const bool outer : {true, false}) {
        const std::string cls = std::string("gl2 ") + (outer ? "ga" + colour : "gi");
        const double more = outer ? 3 : 0;
        if (!links.empty()) out += "<path class=\"" + cls + "\" stroke-width=\"" + coordinate(12 + more) + "\" d=\"" + links + "\"/>";
        out += "<path class=\"" + cls + "\" stroke-width=\"" + coordinate(2 * kRadius + 16 + more) + "\" d=\"" + spots + "\"/>";
      }
      group_names_ += "<text class=\"cn gt gf" + colour + "\" x=\"" + coordinate(boxes_[top].centre.x) + "\" y=\"" + coordinate(boxes_[top].centre.y - kRadius - 12) + "\">" +
             escape(shorten(g.name, 32)) + "</text>";
    }
    return out;
  }

  std::string edges() const {
    std::string out;
    for (size_t k = drawn_.size(); k-- > 0;) {                 // the strongest last, on top
      const Circuit::Edge& e = c_.edges[drawn_[k]];
      const double size = std::isinf(e.score) ? 1 : std::isfinite(e.score) && largest_ > 0 ? std::fabs(e.score) / largest_ : 0;
      const layout::Bezier& b = curves_[k];
      out += std::string("<path class=\"ce ") + (e.score > 0 ? "cp" : e.score < 0 ? "cm" : "cz") + "\" stroke-width=\"" + coordinate(0.8 + 4.2 * size) +
             "\" stroke-opacity=\"" + coordinate(0.3 + 0.6 * size) + "\" d=\"M" + xy(b.a) + "C" + xy(b.c1) + " " + xy(b.c2) + " " + xy(b.b) + "\"><title>" +
             escape(shorten(e.from, 64) + " \xE2\x86\x92 " + shorten(e.to, 64) + ": " + number(e.score, 4)) + "</title></path>";
    }
    return out;
  }

  std::string socket_dot(std::string_view port, double x, double y, const std::string& title) const {
    const PortLook p = port_look(port);
    const std::string n = std::to_string(p.colour);
    return "<circle class=\"" + (p.ring ? "sr pr" + n : "so pg" + n) + "\" cx=\"" + coordinate(x) + "\" cy=\"" + coordinate(y) + "\" r=\"" + (p.ring ? "2.75" : "3.5") + "\"" +
           (title.empty() ? "/>" : "><title>" + escape(title) + "</title></circle>");
  }

  const char* node_class(const Node& n) const {
    const bool mixer = n.place.kind == Kind::kHead || n.place.kind == Kind::kMixer;
    const MixerKind kind = mixer && look_.model ? look_.model->kind(n.place.layer) : MixerKind::kNone;
    return kind == MixerKind::kSoftmax ? "nk" : kind == MixerKind::kRecurrent ? "nr" : n.place.kind == Kind::kMlp ? "nd" : "nf";
  }

  std::string nodes() const {
    std::string out;
    std::unordered_map<std::string_view, std::string_view> group;
    for (const Circuit::Group& g : c_.groups)
      for (const auto& n : g.nodes) group.emplace(n, g.name);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& n = nodes_[i];
      const layout::NodeBox& b = boxes_[i];
      std::string title = shorten(n.name, 64);
      if (std::isfinite(n.score)) title += ": " + number(n.score, 4);
      if (const auto it = group.find(n.name); it != group.end()) title += " (" + shorten(it->second, 32) + ")";
      out += "<g><title>" + escape(title) + "</title>";
      if (n.place.kind == Kind::kHead)
        out += std::string("<circle class=\"") + node_class(n) + "\" cx=\"" + coordinate(b.centre.x) + "\" cy=\"" + coordinate(b.centre.y) + "\" r=\"" + coordinate(b.half.x) + "\"/>";
      else
        out += std::string("<rect class=\"") + node_class(n) + "\" rx=\"4\" x=\"" + coordinate(b.centre.x - b.half.x) + "\" y=\"" + coordinate(b.centre.y - b.half.y) +
               "\" width=\"" + coordinate(2 * b.half.x) + "\" height=\"" + coordinate(2 * b.half.y) + "\"/>";
      out += "<text class=\"cn\" x=\"" + coordinate(b.centre.x) + "\" y=\"" + coordinate(b.centre.y + 3.7) + "\">" + escape(n.label) + "</text></g>";
      for (std::string_view p : n.ports)
        out += socket_dot(p, b.centre.x + socket(n, p), b.centre.y + b.half.y, shorten(n.name, 64) + ", input " + shorten(p, 32));
    }
    return out;
  }

  // Rows of key and words under the picture, as wide as it is.
  std::string legend(double left, double y, double width) {
    std::string out;
    double x = left + 8;
    const auto item = [&](const std::string& words, const std::string& key, double key_width) {
      const double room = key_width + 6 + static_cast<double>(text_cells(words)) * kLetter + 18;
      if (x + room > left + width && x > left + 8) {
        x = left + 8;
        y += 18;
      }
      out += "<g transform=\"translate(" + coordinate(x) + " " + coordinate(y) + ")\">" + key + "<text class=\"cl\" x=\"" + coordinate(key_width + 6) + "\" y=\"4\">" + escape(words) + "</text></g>";
      x += room;
    };
    const auto line = [](const char* cls) { return std::string("<path class=\"ce ") + cls + "\" stroke-width=\"3\" d=\"M0 0h20\"/>"; };
    bool positive = false, negative = false, other = false, head = false, mixer = false, mlp = false, soft = false, recurrent = false;
    for (size_t e : drawn_) {
      positive = positive || c_.edges[e].score > 0;
      negative = negative || c_.edges[e].score < 0;
      other = other || !(c_.edges[e].score > 0 || c_.edges[e].score < 0);
    }
    for (const Node& n : nodes_) {
      head = head || n.place.kind == Kind::kHead;
      mixer = mixer || n.place.kind == Kind::kMixer;
      mlp = mlp || n.place.kind == Kind::kMlp;
      soft = soft || std::string_view(node_class(n)) == "nk";
      recurrent = recurrent || std::string_view(node_class(n)) == "nr";
    }
    if (positive) item("score above 0", line("cp"), 20);
    if (negative) item("score below 0", line("cm"), 20);
    if (other) item("0 or no score", line("cz"), 20);
    if (largest_ > 0) item("thickest: |score| " + number(largest_), "", 0);
    for (const auto& [port, unused] : used_) item("into " + shorten(port.second, 32), socket_dot(port.second, 4, 0, ""), 8);
    const std::string round = "<circle class=\"nf\" cx=\"7\" cy=\"0\" r=\"7\"/>";
    if (head) item("layer.head", round, 14);
    if (mixer) item("a\xE2\x80\xA6 token mixer as a whole", "", 0);
    if (mlp) item("m\xE2\x80\xA6 MLP", "<rect class=\"nd\" rx=\"3\" x=\"0\" y=\"-6\" width=\"18\" height=\"12\"/>", 18);
    if (soft) item("softmax layer", "<circle class=\"nk\" cx=\"7\" cy=\"0\" r=\"7\"/>", 14);
    if (recurrent) item("recurrent layer", "<circle class=\"nr\" cx=\"7\" cy=\"0\" r=\"7\"/>", 14);
    legend_height_ = y - (max_.y + 28) + 14;
    return out;
  }

  std::string caption() const {
    const auto n = [](size_t v) { return count(static_cast<int64_t>(v)); };
    std::string out;
    if (drawn_.size() < belonging_) {
      out = "The " + n(drawn_.size()) + " strongest of " + n(belonging_) + " edges are drawn; " + n(belonging_ - drawn_.size()) + " weaker ones";
      if (left_out_nodes_ > 0) out += " and " + n(left_out_nodes_) + (left_out_nodes_ == 1 ? " node that only they join" : " nodes that only they join");
      out += " are not.";
    } else {
      out = n(drawn_.size()) + (drawn_.size() == 1 ? " edge between " : " edges between ") + n(nodes_.size()) + (nodes_.size() == 1 ? " node." : " nodes.");
      if (left_out_nodes_ > 0) out += " " + n(left_out_nodes_) + " more nodes without edges are not drawn.";
    }
    if (!by_dot_ && !drawn_.empty())
      out += layout::has_dot() ? " Laid out rank by rank: too large for graphviz's dot." : " Laid out rank by rank: this program was built without graphviz.";
    return out;
  }

  const Circuit& c_;
  const CircuitLook& look_;
  const CircuitIndex index_;
  std::vector<size_t> drawn_;              // edges, strongest first
  std::vector<Node> nodes_;
  std::vector<int> number_, row_of_;       // node of the index → nodes_; −1: not drawn
  std::vector<layout::NodeBox> boxes_;
  std::vector<layout::RankRow> rows_;
  std::vector<layout::Bezier> curves_;     // one a drawn edge
  std::map<std::pair<int, std::string_view>, bool> used_;   // ports
  Point min_, max_;
  std::string group_names_;                // on top of everything
  double largest_ = 0, legend_height_ = 0;
  size_t belonging_ = 0, left_out_nodes_ = 0;
  bool by_dot_ = false;
};

}  // namespace

CircuitPicture circuit_svg(const Circuit& circuit, const CircuitLook& look) { return Picture(circuit, look).make(); }

std::string circuit_style() { return kRules; }

}  // namespace microtome::report
