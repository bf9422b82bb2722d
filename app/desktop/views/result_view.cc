#include "app/desktop/views/result_view.h"

#include <QBoxLayout>
#include <QEvent>
#include <QLabel>
#include <QScrollArea>
#include <QScrollBar>
#include <QSignalBlocker>
#include <QSplitter>
#include <QStackedWidget>
#include <QTabWidget>
#include <algorithm>
#include <set>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/artifact_icon.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/summary_view.h"
#include "app/desktop/views/table_view.h"
#include "app/desktop/views/tensor_map_view.h"

namespace microtome::desktop {
namespace {

constexpr size_t kMostSentences = 40;
constexpr int kLeastWords = 44 * kGrid;    // the summary stands beside the findings where that leaves them this width
constexpr int kLongestWord = 48;
constexpr int kMostTabText = 32;

// Places to break words that no line holds (paths, hashes), so that nothing is cut off.
QString breakable(const QString& text) {
  QString out;
  int run = 0;
  for (QChar c : text) {
    run = c.isSpace() ? 0 : run + 1;
    out += c;
    if (run >= kLongestWord && !c.isHighSurrogate()) {
      out += QChar(0x200b);
      run = 0;
    }
  }
  return out;
}

QString row(const QString& sign, const QString& text) {
  return QStringLiteral("<tr><td style='padding-right:8px'>%1</td><td style='padding-bottom:4px'>%2</td></tr>").arg(sign, text);
}

// One table of sentences, so that they can be marked and copied together.
QString listHtml(const std::vector<std::string>& sentences, const QString& sign) {
  QString out = QStringLiteral("<table cellspacing='0' cellpadding='0'>");
  for (size_t i = 0; i < sentences.size() && i < kMostSentences; ++i)
    out += row(sign, breakable(labelText(sentences[i], 1000)).toHtmlEscaped());
  if (sentences.size() > kMostSentences)
    out += row({}, ResultView::tr("and %1 more").arg(sentences.size() - kMostSentences));
  return out + QStringLiteral("</table>");
}

QLabel* makeWords(QWidget* parent, const char* name) {
  auto* label = new QLabel(parent);
  label->setObjectName(QString::fromLatin1(name));
  label->setTextFormat(Qt::RichText);
  label->setWordWrap(true);
  label->setAlignment(Qt::AlignLeft | Qt::AlignTop);
  label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  return label;
}

// The places that a row of a table names: integers in columns called as axes are.
QHash<QString, qint64> placesOf(const Table& table, qint64 row) {
  QHash<QString, qint64> out;
  if (row < 0 || row >= static_cast<qint64>(table.rows.size())) return out;
  const std::vector<Cell>& cells = table.rows[static_cast<size_t>(row)];
  for (size_t c = 0; c < table.columns.size() && c < cells.size(); ++c) {
    const std::string& name = table.columns[c].name;
    static const std::set<std::string> kAxes{"layer", "head", "pos", "q_pos", "k_pos", "prompt"};
    if (!kAxes.count(name)) continue;
    if (const auto* value = std::get_if<int64_t>(&cells[c]); value && *value >= 0) out[QString::fromStdString(name)] = *value;
  }
  return out;
}

}  // namespace

struct ResultView::Impl {
  ResultView* self;
  std::shared_ptr<const AnalysisResult> result;
  ArtifactContext context;
  QStackedWidget* stack;
  QLabel* empty;
  QSplitter* splitter;
  QScrollArea* scroll;
  QWidget* head;
  QBoxLayout *headLayout, *wordsLayout;
  QLabel *findings, *warnings;
  SummaryView* summary;
  QTabWidget* tabs;
  std::vector<QWidget*> made;          // one a tab; null: not looked at yet
  bool moved = false;                  // the person set the height of the head

  std::shared_ptr<const Artifact> artifact(size_t i) const { return {result, &result->artifacts[i]}; }

  void build() {
    auto* all = new QVBoxLayout(self);
    all->setContentsMargins(0, 0, 0, 0);
    stack = new QStackedWidget(self);
    all->addWidget(stack);
    empty = new QLabel(stack);
    empty->setObjectName(QStringLiteral("empty"));
    empty->setProperty("role", QStringLiteral("muted"));
    empty->setTextFormat(Qt::PlainText);
    empty->setAlignment(Qt::AlignCenter);
    empty->setWordWrap(true);
    empty->setMargin(2 * kGrid);
    stack->addWidget(empty);
    splitter = new QSplitter(Qt::Vertical, stack);
    splitter->setChildrenCollapsible(false);
    stack->addWidget(splitter);
    scroll = new QScrollArea(splitter);
    scroll->setWidgetResizable(true);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setMinimumHeight(6 * kGrid);
    head = new QWidget;
    headLayout = new QBoxLayout(QBoxLayout::TopToBottom, head);
    headLayout->setContentsMargins(2 * kGrid, kGrid, 2 * kGrid, kGrid);
    headLayout->setSpacing(kGrid);
    wordsLayout = new QVBoxLayout;
    wordsLayout->setSpacing(kGrid);
    findings = makeWords(head, "findings");
    warnings = makeWords(head, "warnings");
    warnings->setAccessibleName(tr("Warnings"));
    findings->setAccessibleName(tr("Findings"));
    wordsLayout->addWidget(findings);
    wordsLayout->addWidget(warnings);
    wordsLayout->addStretch(1);
    headLayout->addLayout(wordsLayout, 1);
    summary = new SummaryView(head);
    summary->setTitle(tr("Summary"));
    headLayout->addWidget(summary, 0, Qt::AlignTop);
    scroll->setWidget(head);
    splitter->addWidget(scroll);
    tabs = new QTabWidget(splitter);
    tabs->setDocumentMode(true);
    tabs->setElideMode(Qt::ElideNone);       // scrolled instead; titles are short already
    tabs->setUsesScrollButtons(true);
    // The arrows that scroll the tabs: as narrow as they are, on the panel's own ground.
    tabs->setStyleSheet(QStringLiteral("QTabBar QToolButton { padding: 0; } QTabBar::scroller { width: 48px; } QTabBar::tear { width: 0; }"));
    splitter->addWidget(tabs);
    splitter->setStretchFactor(0, 0);
    splitter->setStretchFactor(1, 1);
    connect(splitter, &QSplitter::splitterMoved, self, [this] { moved = true; });
    connect(tabs, &QTabWidget::currentChanged, self, [this](int i) { make(i); });
    adopt(summary);
  }

  void adopt(View* view) {
    connect(view, &View::hoverText, self, &ResultView::hoverText);
    connect(view, &View::message, self, &ResultView::message);
    connect(view, &View::noteWanted, self, &ResultView::noteWanted);
  }

  // The view of a tab, once it is looked at.
  void make(int tab) {
    if (!result || tab < 0 || tab >= static_cast<int>(made.size()) || made[static_cast<size_t>(tab)]) return;
    const auto shown = artifact(static_cast<size_t>(tab));
    QWidget* page = tabs->widget(tab);
    QWidget* widget = makeArtifactView(shown, context, page);
    if (auto* map = qobject_cast<TensorMapView*>(widget)) {
      connect(map, &TensorMapView::hoverText, self, &ResultView::hoverText);
      connect(map, &TensorMapView::message, self, &ResultView::message);
      connect(map, &TensorMapView::noteWanted, self, &ResultView::noteWanted);
      connect(map, &TensorMapView::cellPicked, self, &ResultView::cellPicked);
    } else if (auto* view = qobject_cast<View*>(widget)) {
      adopt(view);
    }
    if (auto* table = qobject_cast<TableView*>(widget))
      connect(table, &TableView::rowSelected, self, [this, tab](qint64 row) {
        if (const auto* t = result ? std::get_if<Table>(&result->artifacts[static_cast<size_t>(tab)]) : nullptr)
          if (const auto places = placesOf(*t, row); !places.isEmpty()) Q_EMIT self->cellPicked(places);
      });
    page->layout()->addWidget(widget);
    made[static_cast<size_t>(tab)] = widget;
  }

  bool sameArtifacts(const AnalysisResult& a, const AnalysisResult& b) const {
    return std::equal(a.artifacts.begin(), a.artifacts.end(), b.artifacts.begin(), b.artifacts.end(),
                      [](const Artifact& x, const Artifact& y) {
                        return x.index() == y.index() && artifact_name(x) == artifact_name(y);
                      });
  }

  void setTabTexts() {
    for (int i = 0; i < tabs->count(); ++i) {
      const QString title = artifactTitle(result->artifacts[static_cast<size_t>(i)]);
      QString text = title.size() > kMostTabText ? title.left(kMostTabText - 1).trimmed() + QChar(0x2026) : title;
      tabs->setTabText(i, text.replace(QLatin1Char('&'), QStringLiteral("&&")));
      tabs->setTabToolTip(i, tipText(title));
      tabs->setTabIcon(i, artifactIcon(result->artifacts[static_cast<size_t>(i)], Theme::of(self), self->devicePixelRatioF()));
    }
  }

  void makeTabs(const QString& front) {
    const QSignalBlocker quiet(tabs);
    while (tabs->count() > 0) {
      QWidget* page = tabs->widget(0);
      tabs->removeTab(0);
      page->deleteLater();             // its view may be the sender
    }
    made.assign(result->artifacts.size(), nullptr);
    int current = 0;
    for (size_t i = 0; i < result->artifacts.size(); ++i) {
      auto* page = new QWidget;
      auto* column = new QVBoxLayout(page);
      column->setContentsMargins(0, 0, 0, 0);
      tabs->addTab(page, QString());
      if (QString::fromStdString(artifact_name(result->artifacts[i])) == front) current = static_cast<int>(i);
    }
    tabs->setCurrentIndex(current);
  }

  void updateTabs() {
    for (size_t i = 0; i < made.size(); ++i) {
      if (!made[i] || updateArtifactView(made[i], artifact(i), context)) continue;
      made[i]->hide();
      made[i]->deleteLater();
      made[i] = nullptr;
    }
  }

  void setWords() {
    if (!result) return;
    const Theme& theme = Theme::of(self);
    findings->setText(listHtml(result->findings, QStringLiteral("<span style='color:%1'>•</span>").arg(theme.accent.name())));
    findings->setVisible(!result->findings.empty());
    warnings->setText(QStringLiteral("<div style='color:%1'>%2</div>")
                          .arg(theme.warning.name(), listHtml(result->warnings, QStringLiteral("⚠"))));
    warnings->setVisible(!result->warnings.empty());
  }

  // Beside one another where there is room; the head as tall as it needs, up to two fifths of the whole.
  void arrange() {
    const bool words = findings->isVisibleTo(head) || warnings->isVisibleTo(head);
    const bool wide = words && self->width() - summary->sizeHint().width() >= kLeastWords;
    headLayout->setDirection(wide ? QBoxLayout::LeftToRight : QBoxLayout::TopToBottom);
    headLayout->setSpacing(wide ? 4 * kGrid : kGrid);
    if (moved || !tabs->isVisibleTo(splitter)) return;
    // Counted here: the layouts know it only once they have been shown.
    const bool numbers = summary->isVisibleTo(head);
    const int inner = std::max(self->width() - 4 * kGrid, 20 * kGrid);
    const int wordsWidth = wide && numbers ? inner - headLayout->spacing() - summary->sizeHint().width() : inner;
    int wordsHeight = 0;
    for (QLabel* label : {findings, warnings})
      if (label->isVisibleTo(head)) wordsHeight += label->heightForWidth(wordsWidth) + (wordsHeight ? kGrid : 0);
    const int numbersHeight = numbers ? summary->sizeHint().height() : 0;
    const int wanted = 2 * kGrid + (wide ? std::max(wordsHeight, numbersHeight)
                                         : wordsHeight + numbersHeight + (words && numbers ? kGrid : 0));
    const int top = std::min(wanted + 2, std::max(6 * kGrid, self->height() * 2 / 5));
    splitter->setSizes({top, std::max(1, self->height() - top)});
  }
};

ResultView::ResultView(QWidget* parent) : QWidget(parent), impl_(std::make_unique<Impl>()) {
  impl_->self = this;
  impl_->build();
  clear(tr("No result yet: run an analysis."));
}

ResultView::~ResultView() = default;

void ResultView::setResult(std::shared_ptr<const AnalysisResult> result, const ArtifactContext& context) {
  Impl& d = *impl_;
  if (!result) {
    clear(tr("No result yet: run an analysis."));
    return;
  }
  const bool same = d.result && d.sameArtifacts(*d.result, *result);
  const QString front = currentArtifact();
  d.result = std::move(result);
  d.context = context;
  d.setWords();
  d.summary->setItems(d.result->summary);
  d.summary->setCommand(context.command);
  d.summary->setSource(context.run, QStringLiteral("summary"));
  d.summary->setVisible(!d.result->summary.empty());
  if (same) d.updateTabs();
  else d.makeTabs(front);
  d.setTabTexts();
  const bool head = !d.result->findings.empty() || !d.result->warnings.empty() || !d.result->summary.empty();
  d.scroll->setVisible(head);
  d.tabs->setVisible(!d.result->artifacts.empty());
  if (!head && d.result->artifacts.empty()) {
    d.empty->setText(tr("This run gave no numbers: look at its log."));
    d.stack->setCurrentWidget(d.empty);
    return;
  }
  d.make(d.tabs->currentIndex());
  d.stack->setCurrentWidget(d.splitter);
  d.arrange();
}

void ResultView::clear(const QString& emptyText) {
  Impl& d = *impl_;
  d.result = nullptr;
  {
    const QSignalBlocker quiet(d.tabs);
    while (d.tabs->count() > 0) {
      QWidget* page = d.tabs->widget(0);
      d.tabs->removeTab(0);
      page->deleteLater();
    }
  }
  d.made.clear();
  d.empty->setText(emptyText);
  d.stack->setCurrentWidget(d.empty);
}

std::vector<View*> ResultView::views() const {
  std::vector<View*> out;
  if (!impl_->result) return out;
  if (!impl_->result->summary.empty()) out.push_back(impl_->summary);
  for (QWidget* widget : impl_->made)
    for (View* view : viewsOf(widget)) out.push_back(view);
  return out;
}

void ResultView::showArtifact(const QString& name) {
  if (!impl_->result) return;
  for (size_t i = 0; i < impl_->result->artifacts.size(); ++i)
    if (QString::fromStdString(artifact_name(impl_->result->artifacts[i])) == name) {
      impl_->tabs->setCurrentIndex(static_cast<int>(i));
      return;
    }
}

QString ResultView::currentArtifact() const {
  const int i = impl_->tabs->currentIndex();
  if (!impl_->result || i < 0) return {};
  return QString::fromStdString(artifact_name(impl_->result->artifacts[static_cast<size_t>(i)]));
}

void ResultView::select(const QHash<QString, qint64>& indexByAxis) {
  for (QWidget* widget : impl_->made)
    if (auto* map = qobject_cast<TensorMapView*>(widget)) map->select(indexByAxis);
}

void ResultView::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::StyleChange) {
    impl_->setWords();
    if (impl_->result) impl_->setTabTexts();   // their icons
  }
}

void ResultView::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  if (impl_->result) impl_->arrange();         // fonts of the style are known now
}

void ResultView::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  if (impl_->result) impl_->arrange();
}

}  // namespace microtome::desktop
