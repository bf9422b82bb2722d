#include "app/desktop/panels/states/column.h"

#include <QComboBox>
#include <QTabWidget>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/table_view.h"

namespace microtome::desktop {
namespace {

constexpr const char* kSource = "arXiv 2411.12537, 2312.06635, 2406.06484";

QString commandOf(const RunViewPtr& run) {
  return QString::fromStdString(run->record.command.empty() ? run->record.spec.command : run->record.command);
}

}  // namespace

StateColumn::StateColumn(Panel& panel, int slot, QWidget* parent)
    : PromptRunPane(panel.session(), QStringLiteral("states"), slot, parent), session_(panel.session()),
      lens_(new PromptRun(panel.session(), QStringLiteral("state_lens"), slot, this)) {
  auto* content = new QWidget(this);
  auto* column = new QVBoxLayout(content);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* top = new QHBoxLayout;
  top->setSpacing(kGrid);
  heads_ = new QComboBox(content);
  heads_->setObjectName(QStringLiteral("states_head"));
  heads_->setAccessibleName(tr("Recurrent head"));
  guardWheel(heads_);
  facts_ = new QLabel(content);
  facts_->setObjectName(QStringLiteral("states_facts"));
  facts_->setProperty("role", QStringLiteral("muted"));
  facts_->setTextFormat(Qt::PlainText);
  facts_->setMinimumWidth(1);
  facts_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  top->addWidget(heads_);
  top->addWidget(facts_, 1);
  column->addLayout(top);

  across_ = new QSplitter(Qt::Horizontal, content);
  across_->setChildrenCollapsible(false);
  map_ = new HeatMapView(across_);
  map_->setObjectName(QStringLiteral("states_map"));
  tabs_ = new QTabWidget(across_);
  tabs_->setDocumentMode(true);
  auto* linesPage = new QWidget(tabs_);
  auto* linesColumn = new QVBoxLayout(linesPage);
  linesColumn->setContentsMargins(0, kGrid / 2, 0, 0);
  linesColumn->setSpacing(0);
  number_ = new QComboBox(linesPage);
  number_->setObjectName(QStringLiteral("states_number"));
  number_->setAccessibleName(tr("Number over the tokens"));
  guardWheel(number_);
  lines_ = new ChartView(linesPage);
  lines_->setObjectName(QStringLiteral("states_lines"));
  linesColumn->addWidget(number_, 0, Qt::AlignLeft);
  linesColumn->addWidget(lines_, 1);
  eigen_ = new ChartView(tabs_);
  eigen_->setObjectName(QStringLiteral("states_eigenvalues"));
  auto* saysPage = new QWidget(tabs_);
  auto* saysColumn = new QVBoxLayout(saysPage);
  saysColumn->setContentsMargins(0, kGrid / 2, 0, 0);
  lensText_ = new QLabel(saysPage);
  lensText_->setProperty("role", QStringLiteral("muted"));
  lensText_->setWordWrap(true);
  lensText_->setTextFormat(Qt::PlainText);
  says_ = new TableView(saysPage);
  says_->setObjectName(QStringLiteral("states_says"));
  says_->setFilterVisible(false);
  saysColumn->addWidget(lensText_);
  saysColumn->addWidget(says_, 1);
  tabs_->addTab(linesPage, tr("Over tokens"));
  tabs_->addTab(saysPage, tr("Says"));
  tabs_->addTab(eigen_, tr("Eigenvalues"));
  tabs_->setTabToolTip(1, tr("The tokens this head would write if its state were read here"));
  tabs_->setTabToolTip(2, tr("What is left of what was stored before the first token, and along how many directions"));
  across_->addWidget(map_);
  across_->addWidget(tabs_);
  across_->setStretchFactor(0, 1);
  across_->setStretchFactor(1, 1);
  across_->setSizes({1000, 1000});
  column->addWidget(across_, 1);
  setContent(content);
  for (View* v : std::initializer_list<View*>{map_, lines_, eigen_, says_}) panel.adopt(v);

  connect(this, &PromptRunPane::arrived, this, &StateColumn::take);
  connect(lens_, &PromptRun::changed, this, &StateColumn::takeLens);
  connect(heads_, &QComboBox::activated, this, [this](int i) {
    const QPoint at = heads_->itemData(i).toPoint();
    Q_EMIT headPicked(at.x(), at.y());
  });
  connect(number_, &QComboBox::currentIndexChanged, this, &StateColumn::drawLines);
  connect(tabs_, &QTabWidget::currentChanged, this, [this] {
    drawEigen();
    drawLens();
  });
  connect(lines_, &ChartView::cursorMoved, this, [this](double x) {
    if (kept_ && std::isfinite(x)) Q_EMIT tokenPicked(std::clamp(static_cast<int>(std::lround(x)), 0, static_cast<int>(kept_->tokens) - 1));
  });
}

bool StateColumn::possible() const {
  const app::ModelPtr m = session_.model(run()->slot());
  return m && std::any_of(m->facts().layers.begin(), m->facts().layers.end(), [](const app::LayerFacts& l) { return l.recurrent; });
}

std::pair<int, int> StateColumn::headFor(int layer, int head) const {
  const app::ModelPtr m = session_.model(run()->slot());
  if (!m) return {-1, -1};
  const auto& layers = m->facts().layers;
  if (layer >= 0 && static_cast<size_t>(layer) < layers.size() && layers[static_cast<size_t>(layer)].recurrent)
    return {layer, std::clamp(head, 0, static_cast<int>(layers[static_cast<size_t>(layer)].heads) - 1)};
  for (const app::LayerFacts& l : layers)
    if (l.recurrent) return {static_cast<int>(l.index), 0};
  return {-1, -1};
}

void StateColumn::ask(int layer, int head, const QString& query) {
  fillHeads();
  if (layer < 0) return;
  layer_ = layer;
  head_ = head;
  heads_->setCurrentIndex(heads_->findData(QPoint(layer, head)));
  const app::LayerFacts& l = session_.model(run()->slot())->facts().layers[static_cast<size_t>(layer)];
  // Query heads that share a state: `states` counts states, `state_lens` the heads that read them.
  const int64_t state = l.heads > 0 ? head * std::max<int64_t>(1, l.kv_heads) / l.heads : 0;
  run()->ask({{"keep", std::to_string(layer) + "." + std::to_string(state)}});
  std::map<std::string, std::string> params = {{"heads", std::to_string(head)}};
  if (query != QLatin1String("own")) params["query"] = query.toStdString();
  lens_->ask(params);
}

void StateColumn::fillHeads() {
  const app::ModelPtr m = session_.model(run()->slot());
  const QSignalBlocker quiet(heads_);
  heads_->clear();
  if (!m) return;
  for (const app::LayerFacts& l : m->facts().layers)
    for (int64_t h = 0; l.recurrent && h < l.heads; ++h)
      heads_->addItem(tr("layer %1, head %2").arg(l.index).arg(h), QPoint(static_cast<int>(l.index), static_cast<int>(h)));
}

void StateColumn::take() {
  kept_.reset();
  if (const app::ModelPtr& m = run()->model(); m && layer_ >= 0 && static_cast<size_t>(layer_) < m->facts().layers.size()) {
    const app::LayerFacts& l = m->facts().layers[static_cast<size_t>(layer_)];
    const int64_t state = l.heads > 0 ? head_ * std::max<int64_t>(1, l.kv_heads) / l.heads : 0;
    kept_ = KeptState::read(run()->run(), layer_, static_cast<int>(state));
  }
  if (!kept_) {
    map_->clear();
    lines_->clear();
    eigen_->clear();
    Q_EMIT filled();
    return;
  }
  const QString head = tr("layer %1, head %2 of %3").arg(layer_).arg(head_).arg(labelText(run()->model()->facts().name, 60));
  const QString artifact = QStringLiteral("state_%1_%2").arg(kept_->layer).arg(kept_->head);
  for (View* v : std::initializer_list<View*>{map_, lines_, eigen_}) {
    v->setCommand(commandOf(run()->run()));
    v->setSource(run()->run()->record.id, artifact);
  }
  map_->setTitle(tr("State of %1").arg(head));
  lines_->setTitle(tr("State over the tokens, %1").arg(head));
  eigen_->setTitle(tr("Eigenvalues of the transitions, %1").arg(head));
  {
    const QSignalBlocker quiet(number_);
    const QString before = number_->currentText();
    number_->clear();
    for (const KeptState::Number& n : kept_->numbers) {
      number_->addItem(n.name);
      number_->setItemData(number_->count() - 1, n.help, Qt::ToolTipRole);
    }
    number_->setCurrentIndex(std::max(0, number_->findText(before)));
  }
  HeatMapData data;
  data.rows = kept_->d_k;
  data.cols = kept_->d_v;
  data.values = kept_->matrix(what_, token_);
  data.rowAxis.name = tr("key direction (d_k)");
  data.colAxis.name = tr("value direction (d_v)");
  data.look = Look::kDiverging;
  data.label = tr("state");
  data.help = tr("S after the token is written, as the recurrence has it; one scale over all tokens (%1)").arg(QLatin1String(kSource));
  map_->setData(data);
  setWhat(what_);
  drawLines();
  Q_EMIT filled();
}

void StateColumn::setWhat(KeptState::What what) {
  what_ = what;
  if (!kept_) return;
  largest_ = kept_->largest(what);
  showToken(token_);
}

void StateColumn::setOwnScale(bool on) {
  own_ = on;
  showToken(token_);
}

void StateColumn::showToken(int token) {
  token_ = token;
  if (!kept_) return;
  token_ = std::clamp(token, 0, static_cast<int>(kept_->tokens) - 1);
  const auto values = kept_->matrix(what_, token_);
  double top = largest_;
  if (own_) {
    top = 0;
    for (float v : *values)
      if (std::isfinite(v)) top = std::max(top, std::abs(static_cast<double>(v)));
  }
  map_->setValues(values);
  if (top > 0) map_->setScale(-top, top);
  QStringList facts;
  for (const KeptState::Number& n : kept_->numbers)
    if (n.name == QLatin1String("norm") || n.name == QLatin1String("effective rank") || n.name == QLatin1String("half life") || n.name == QLatin1String("erase"))
      facts << n.name + QLatin1Char(' ') + numberText(n.values[static_cast<size_t>(token_)], 3);
  facts_->setText(facts.join(QStringLiteral(" · ")));
  QStringList tips;
  for (const KeptState::Number& n : kept_->numbers) tips << tr("%1: %2").arg(n.name, n.help);
  facts_->setToolTip(tips.join(QLatin1Char('\n')) + QLatin1Char('\n') + QLatin1String(kSource));
  lines_->setCursor(token_);
  drawEigen();
  drawLens();
}

void StateColumn::drawLines() {
  if (!kept_ || kept_->numbers.empty()) return;
  const int i = std::clamp(number_->currentIndex(), 0, static_cast<int>(kept_->numbers.size()) - 1);
  const KeptState::Number& n = kept_->numbers[static_cast<size_t>(i)];
  ChartData data;
  data.xLabel = tr("token");
  data.yLabel = n.unit.isEmpty() ? n.name : tr("%1 (%2)").arg(n.name, n.unit);
  data.xTicks = kept_->texts;
  ChartLine line;
  line.name = n.name;
  line.help = n.help;
  line.recurrent = true;
  for (size_t t = 0; t < n.values.size(); ++t) {
    line.x.push_back(static_cast<double>(t));
    line.y.push_back(n.values[t]);
  }
  data.lines.push_back(std::move(line));
  lines_->setData(data);
  lines_->setCursor(token_);
}

void StateColumn::drawEigen() {
  if (!kept_ || tabs_->currentWidget() != eigen_) return;
  if (kept_->eigenRe.empty()) {
    eigen_->clear(tr("How this mixer's state changes a token is not known as a matrix."));
    return;
  }
  ChartData data;
  data.kind = ChartData::Kind::kScatter;
  data.unitCircle = true;
  data.xLabel = tr("real part");
  data.yLabel = tr("imaginary part");
  ChartLine points;
  points.name = tr("after token %1").arg(token_);
  points.help = kept_->eigenHelp;
  points.recurrent = true;
  const auto from = static_cast<size_t>(token_ * kept_->d_k);
  for (size_t i = from; i < from + static_cast<size_t>(kept_->d_k); ++i) {
    points.x.push_back(kept_->eigenRe[i]);
    points.y.push_back(kept_->eigenIm[i]);
  }
  data.lines.push_back(std::move(points));
  eigen_->setData(data);
}

void StateColumn::takeLens() { drawLens(); }

void StateColumn::drawLens() {
  if (tabs_->currentIndex() != 1) return;
  const RunViewPtr& seen = lens_->run();
  const Table* table = nullptr;
  if (seen)
    for (const Artifact& a : seen->result.artifacts)
      if (const auto* t = std::get_if<Table>(&a); t && (t->name == "state_lens_tokens" || t->name == "state_lens_keys")) table = t;
  if (!table) {
    says_->setTable(nullptr);
    lensText_->setText(lens_->state() == PromptRun::State::kRunning ? tr("Reading the state…") : lens_->sentence());
    return;
  }
  const bool keys = table->name == "state_lens_keys";
  auto shown = std::make_shared<Table>();
  shown->name = table->name;
  shown->columns = {{keys ? "key" : "rank", "", keys ? "key direction, row of S" : ""}, {"token", "", ""}, {"logit", "logits", "what the head would add to that token's logit"}};
  const auto at = [&](const std::vector<Cell>& row, const std::string& name) -> Cell {
    for (size_t c = 0; c < table->columns.size() && c < row.size(); ++c)
      if (table->columns[c].name == name) return row[c];
    return {};
  };
  for (const auto& row : table->rows) {
    if (at(row, "layer") != Cell{static_cast<int64_t>(layer_)} || at(row, "head") != Cell{static_cast<int64_t>(head_)}) continue;
    if (keys) {
      shown->rows.push_back({at(row, "key"), at(row, "top1"), at(row, "logit1")});
      continue;
    }
    if (at(row, "pos") != Cell{static_cast<int64_t>(token_)}) continue;
    for (int64_t k = 1; k <= 50; ++k) {
      const Cell token = at(row, "top" + std::to_string(k));
      if (std::holds_alternative<std::monostate>(token)) break;
      shown->rows.push_back({k, token, at(row, "logit" + std::to_string(k))});
    }
  }
  lensText_->setText(keys ? tr("What each key direction of the last state says.")
                          : tr("What the head would write, read after %1:").arg(kept_ && token_ < kept_->texts.size() ? QStringLiteral("“%1”").arg(visibleToken(kept_->texts[token_])) : QString::number(token_)));
  says_->setTitle(tr("What the state of layer %1, head %2 says").arg(layer_).arg(head_));
  says_->setCommand(commandOf(seen));
  says_->setSource(seen->record.id, QString::fromStdString(table->name));
  says_->setTable(shown);
}

std::vector<View*> StateColumn::shownViews() const {
  if (!showsContent() || !kept_) return {};
  std::vector<View*> out = {map_};
  if (tabs_->currentIndex() == 0) out.push_back(lines_);
  if (tabs_->currentIndex() == 1) out.push_back(says_);
  if (tabs_->currentIndex() == 2) out.push_back(eigen_);
  return out;
}

QByteArray StateColumn::layoutState() const { return across_->saveState(); }
void StateColumn::setLayoutState(const QByteArray& state) { across_->restoreState(state); }

}  // namespace microtome::desktop
