#include "app/desktop/views/feature_set_view.h"

#include <QClipboard>
#include <QGuiApplication>
#include <QHeaderView>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QSplitter>
#include <QTableView>
#include <QVBoxLayout>
#include <utility>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/feature_search.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/map_text.h"
#include "core/base/status.h"

namespace microtome::desktop {
namespace {

// The first page fills a window; the others come behind it while it is looked at.
constexpr int64_t kFirstPage = 300, kPage = 3000;

}  // namespace

FeatureSetView::FeatureSetView(QWidget* parent) : View(parent) {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  splitter_ = new QSplitter(Qt::Horizontal, this);
  splitter_->setChildrenCollapsible(false);
  outer->addWidget(splitter_);
  auto* left = new QWidget(splitter_);
  auto* column = new QVBoxLayout(left);
  column->setContentsMargins(0, 0, kGrid, 0);
  column->setSpacing(kGrid / 2);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  search_ = new QLineEdit(left);
  search_->setObjectName(QStringLiteral("feature_search"));
  search_->setPlaceholderText(tr("Search: a word, token:the, density>0.01"));
  search_->setAccessibleName(tr("Search the features"));
  search_->setToolTip(tipText(tr("Words, or a stretch of text in double quotes, in examples and labels; token:the for the token it is strongest on; label:\"\" for "
                                 "features with a label; density, max, mean, index with < <= > >= =; sort:max. All parts must hold (Ctrl+F)")));
  search_->setClearButtonEnabled(true);
  search_->installEventFilter(this);
  count_ = new QLabel(left);
  count_->setObjectName(QStringLiteral("feature_count"));
  count_->setProperty("role", QStringLiteral("muted"));
  count_->setTextFormat(Qt::PlainText);
  count_->setWordWrap(true);
  column->addWidget(search_);
  model_ = new FeatureListModel(this);
  filter_ = new FeatureListFilter(this);
  filter_->setSourceModel(model_);
  list_ = new QTableView(left);
  list_->setObjectName(QStringLiteral("feature_list"));
  list_->setAccessibleName(tr("Features"));
  list_->setModel(filter_);
  list_->setSortingEnabled(true);
  list_->setSelectionBehavior(QAbstractItemView::SelectRows);
  list_->setSelectionMode(QAbstractItemView::SingleSelection);
  list_->setEditTriggers(QAbstractItemView::NoEditTriggers);
  list_->setShowGrid(false);
  list_->setWordWrap(false);
  list_->setAlternatingRowColors(true);
  list_->setFrameShape(QFrame::NoFrame);
  list_->setTabKeyNavigation(false);
  list_->setCornerButtonEnabled(false);
  list_->setContextMenuPolicy(Qt::NoContextMenu);      // this view's menu
  list_->setHorizontalScrollMode(QAbstractItemView::ScrollPerPixel);
  list_->verticalHeader()->hide();
  list_->verticalHeader()->setSectionResizeMode(QHeaderView::Fixed);
  list_->verticalHeader()->setDefaultSectionSize(list_->fontMetrics().height() + kGrid);
  list_->horizontalHeader()->setHighlightSections(false);
  list_->horizontalHeader()->setStretchLastSection(true);
  list_->sortByColumn(FeatureListModel::kMax, Qt::DescendingOrder);
  column->addWidget(list_, 1);
  column->addWidget(count_);
  left->setMinimumWidth(24 * kGrid);
  dashboard_ = new FeatureView(splitter_);
  dashboard_->setObjectName(QStringLiteral("feature_dashboard"));
  dashboard_->setMinimumWidth(32 * kGrid);
  splitter_->addWidget(left);
  splitter_->addWidget(dashboard_);
  splitter_->setStretchFactor(0, 0);
  splitter_->setStretchFactor(1, 1);
  splitter_->setSizes({50 * kGrid, 70 * kGrid});
  setFocusProxy(list_);

  typing_.setSingleShot(true);
  typing_.setInterval(150);
  connect(&typing_, &QTimer::timeout, this, &FeatureSetView::search);
  connect(search_, &QLineEdit::textChanged, this, [this] { typing_.start(); });
  connect(list_->selectionModel(), &QItemSelectionModel::currentRowChanged, this, [this](const QModelIndex& now) {
    const FeatureSet::Feature* f = now.isValid() ? model_->feature(filter_->mapToSource(now).row()) : nullptr;
    // A search that hides the chosen one does not unset it; the list would move on to its neighbour.
    if (f && !searching_) showFeature(f->index);
  });
  dashboard_->setNames([this](qint64 f) { return label(f); });
  connect(dashboard_, &FeatureView::featureWanted, this, [this](qint64 f) { choose(f); });
  connect(dashboard_, &FeatureView::labelEdited, this, [this](qint64 f, const QString& text) {
    if (text != label(f)) Q_EMIT labelEdited(f, text);
  });
  connect(dashboard_, &View::hoverText, this, &View::hoverText);
  connect(dashboard_, &View::message, this, &View::message);
  dashboard_->setLabelEditable(false);
  setSet(nullptr);
}

void FeatureSetView::setSet(std::shared_ptr<const FeatureSet> set) {
  const qint64 before = feature();
  stored_ = {};
  ++asked_;
  names_.clear();
  dashboard_->setOthersRead(false);
  list_->setColumnHidden(FeatureListModel::kLabel, false);
  model_->setSet(std::move(set));
  fitColumns();
  search();
  if (model_->rowOf(before) >= 0) showFeature(before);
  else dashboard_->setFeature(nullptr, -1, {});
  if (before >= 0 && choose(before)) return;
  if (filter_->rowCount() > 0) list_->setCurrentIndex(filter_->index(0, 0));
  else Q_EMIT featureChosen(-1);
}

void FeatureSetView::setStored(Stored stored, qint64 first) {
  stored_ = std::move(stored);
  opening_ = true;
  wanted_ = first;
  names_.clear();
  dashboard_->setOthersRead(true);
  ask();
  FeatureQuery labelled;
  labelled.labels = {""};
  stored_.find(labelled, [this, mine = asked_](const Result<ResultStore::FeaturePage>& page) {
    if (!page || asked_ < mine || !stored_.find) return;
    for (const FeatureRow& r : page.value().rows) names_.emplace(r.index, labelText(r.label, 500));
    list_->setColumnHidden(FeatureListModel::kLabel, names_.empty());
  });
}

void FeatureSetView::ask() {
  FeatureQuery query;
  try {
    query = parse_feature_query(search_->text().toStdString());
  } catch (const Error& e) {
    QString why = labelText(e.status().what(), 200);
    if (!why.isEmpty()) why[0] = why[0].toUpper();
    count_->setText(why);
    return;
  }
  // The rows that the list shows first come first.
  if (!search_->text().contains(QLatin1String("sort:"))) {
    const int column = list_->horizontalHeader()->sortIndicatorSection();
    query.sort = column == FeatureListModel::kDensity ? FeatureQuery::Field::kDensity : column == FeatureListModel::kMax ? FeatureQuery::Field::kMax : FeatureQuery::Field::kIndex;
    query.descending = list_->horizontalHeader()->sortIndicatorOrder() == Qt::DescendingOrder;
  }
  query.limit = kFirstPage;
  const int mine = ++asked_;
  stored_.find(query, [this, query, mine](const Result<ResultStore::FeaturePage>& page) { takePage(query, mine, page); });
}

void FeatureSetView::takePage(const FeatureQuery& query, int asked, const Result<ResultStore::FeaturePage>& read) {
  if (asked != asked_) return;
  const bool opening = opening_ && query.offset == 0;
  if (opening) opening_ = false;
  if (!read) {
    count_->setText(labelText(read.status().what(), 200));
    if (opening) Q_EMIT opened(QString::fromStdString(read.status().text()));
    return;
  }
  const ResultStore::FeaturePage& page = read.value();
  searching_ = true;                   // rows go and come: nothing is chosen by that
  if (query.offset == 0) {
    filter_->showAll();
    model_->startRows(page.head);
    if (search_->text().contains(QLatin1String("sort:")) && query.sort != FeatureQuery::Field::kMean)
      list_->sortByColumn(query.sort == FeatureQuery::Field::kIndex     ? FeatureListModel::kIndex
                          : query.sort == FeatureQuery::Field::kDensity ? FeatureListModel::kDensity
                                                                        : FeatureListModel::kMax,
                          query.descending ? Qt::DescendingOrder : Qt::AscendingOrder);
  }
  model_->addRows(page.rows);
  if (const int row = model_->rowOf(wanted_); row >= 0 && !list_->currentIndex().isValid()) {
    const QModelIndex at = filter_->mapFromSource(model_->index(row, 0));
    list_->setCurrentIndex(at);
    list_->scrollTo(at, QAbstractItemView::PositionAtCenter);
  }
  searching_ = false;
  describeCount(page.total, page.all);
  if (query.offset == 0) fitColumns();
  if (query.offset == 0 && std::exchange(firstFound_, false) && !list_->currentIndex().isValid() && filter_->rowCount() > 0) list_->setCurrentIndex(filter_->index(0, 0));
  if (opening) {
    dashboard_->setFeature(nullptr, -1, {});
    if (page.all > 0 && wanted_ >= 0) showFeature(wanted_);
    else if (filter_->rowCount() > 0) list_->setCurrentIndex(filter_->index(0, 0));
    Q_EMIT opened({});
  }
  const int64_t next = query.offset + static_cast<int64_t>(page.rows.size());
  if (page.rows.empty() || next >= page.total) return;
  FeatureQuery more = query;
  more.offset = next;
  more.limit = kPage;
  stored_.find(more, [this, more, asked](const Result<ResultStore::FeaturePage>& p) { takePage(more, asked, p); });
}

void FeatureSetView::describeCount(qint64 found, qint64 all) {
  const bool asked = !search_->text().trimmed().isEmpty();
  if (asked) count_->setText(found == 0 ? tr("None of %1 features is like this: shorten the search.").arg(all) : tr("%1 of %2 features").arg(found).arg(all));
  else if (model_->set() && model_->set()->d_sae > all) count_->setText(tr("%1 features of a dictionary of %2").arg(all).arg(model_->set()->d_sae));
  else count_->setText(tr("%1 features").arg(all));
}

qint64 FeatureSetView::feature() const { return dashboard_->feature(); }

QString FeatureSetView::label(qint64 feature) const {
  const int row = model_->rowOf(feature);
  if (row >= 0) return model_->label(row);
  const auto known = names_.find(feature);
  return known == names_.end() ? QString() : known->second;
}

void FeatureSetView::setLabelsEditable(bool on) { dashboard_->setLabelEditable(on); }

void FeatureSetView::setLabel(qint64 feature, const QString& text) {
  model_->setLabel(feature, text);
  if (!text.isEmpty()) list_->setColumnHidden(FeatureListModel::kLabel, false);
  if (stored_.find) names_[feature] = text;
  if (feature == this->feature()) dashboard_->setLabel(text);
}

void FeatureSetView::setSearch(const QString& text) {
  search_->setText(text);
  typing_.stop();
  search();
}

bool FeatureSetView::choose(qint64 feature) {
  const int row = model_->rowOf(feature);
  if (row < 0 && stored_.find && feature >= 0) {
    // Not among the rows that are here: another page's, or hidden by the search.
    if (!search_->text().isEmpty()) setSearch({});
    searching_ = true;
    list_->setCurrentIndex({});
    searching_ = false;
    showFeature(feature);
    return true;
  }
  if (row < 0) return false;
  QModelIndex at = filter_->mapFromSource(model_->index(row, 0));
  if (!at.isValid()) {
    setSearch({});
    at = filter_->mapFromSource(model_->index(row, 0));
  }
  list_->setCurrentIndex(at);
  list_->scrollTo(at, QAbstractItemView::PositionAtCenter);
  showFeature(feature);
  return true;
}

void FeatureSetView::showFeature(qint64 feature) {
  if (stored_.feature) {
    wanted_ = feature;
    stored_.feature(feature, [this, feature, mine = asked_](const Result<FeatureSet>& read) {
      if (wanted_ != feature || mine > asked_) return;
      if (!read || read.value().features.empty()) {
        Q_EMIT message(tr("Feature %1 is not among those that were looked at.").arg(feature), true);
        return;
      }
      const auto one = std::make_shared<const FeatureSet>(read.value());
      names_[feature] = labelText(one->features[0].label, 500);
      dashboard_->setCommand(command());
      dashboard_->setTitle(tr("Feature %1 · %2").arg(feature).arg(title()));
      dashboard_->setSource(sourceRun(), sourceArtifact());
      dashboard_->setFeature(one, 0, label(feature));
      Q_EMIT featureChosen(feature);
    });
    return;
  }
  if (feature == this->feature() && model_->set() && dashboard_->feature() >= 0) {
    dashboard_->setFeature(model_->shared(), model_->rowOf(feature), label(feature));
    return;
  }
  dashboard_->setCommand(command());
  dashboard_->setTitle(tr("Feature %1 · %2").arg(feature).arg(title()));
  dashboard_->setSource(sourceRun(), sourceArtifact());
  dashboard_->setFeature(model_->shared(), model_->rowOf(feature), label(feature));
  Q_EMIT featureChosen(feature);
}

void FeatureSetView::search() {
  if (stored_.find) return ask();
  const FeatureSet* set = model_->set();
  if (!set) {
    filter_->showAll();
    count_->clear();
    return;
  }
  const bool asked = !search_->text().trimmed().isEmpty();
  try {
    const FeatureQuery query = parse_feature_query(search_->text().toStdString());
    searching_ = true;
    if (!asked) filter_->showAll();
    else filter_->setRows(findFeatures(model_->hasEdits() ? model_->edited() : *set, query));
    const int chosen = model_->rowOf(feature());
    list_->setCurrentIndex(chosen < 0 ? QModelIndex() : filter_->mapFromSource(model_->index(chosen, 0)));
    searching_ = false;
    if (search_->text().contains(QLatin1String("sort:")) && query.sort != FeatureQuery::Field::kMean)
      list_->sortByColumn(query.sort == FeatureQuery::Field::kIndex     ? FeatureListModel::kIndex
                          : query.sort == FeatureQuery::Field::kDensity ? FeatureListModel::kDensity
                                                                        : FeatureListModel::kMax,
                          query.descending ? Qt::DescendingOrder : Qt::AscendingOrder);
  } catch (const Error& e) {
    // What was found before stays while the rest is typed.
    QString why = labelText(e.status().what(), 200);
    if (!why.isEmpty()) why[0] = why[0].toUpper();
    count_->setText(why);
    return;
  }
  describeCount(filter_->rowCount(), model_->rowCount());
}

void FeatureSetView::fitColumns() {
  if (fitted_ || model_->rowCount() == 0) return;
  fitted_ = true;
  const QFontMetrics m = list_->fontMetrics();
  const int pad = 2 * kGrid;
  list_->setColumnWidth(FeatureListModel::kIndex, m.horizontalAdvance(QStringLiteral("Feature")) + pad);
  list_->setColumnWidth(FeatureListModel::kDensity, m.horizontalAdvance(QStringLiteral("0.0012 %")) + pad);
  list_->setColumnWidth(FeatureListModel::kMax, m.horizontalAdvance(QStringLiteral("12.34")) + 5 * kGrid);
  list_->setColumnWidth(FeatureListModel::kLabel, 8 * kGrid);
}

bool FeatureSetView::eventFilter(QObject* object, QEvent* event) {
  if (object == search_ && event->type() == QEvent::KeyPress) {
    const int key = static_cast<QKeyEvent*>(event)->key();
    if (key == Qt::Key_Down || key == Qt::Key_Return || key == Qt::Key_Enter) {
      list_->setFocus(Qt::OtherFocusReason);
      if (typing_.isActive()) {
        typing_.stop();
        search();
        if (stored_.find) return firstFound_ = true;
      }
      if (filter_->rowCount() > 0 && (!list_->currentIndex().isValid() || key != Qt::Key_Down)) list_->setCurrentIndex(filter_->index(0, 0));
      return true;
    }
    if (key == Qt::Key_Escape && !search_->text().isEmpty()) {
      setSearch({});
      return true;
    }
  }
  return View::eventFilter(object, event);
}

QString FeatureSetView::csv() const {
  if (!model_->set()) return {};
  QString out = QStringLiteral("feature,density,max,mean,label,fires on\r\n");
  for (int r = 0; r < filter_->rowCount(); ++r) {
    const int row = filter_->mapToSource(filter_->index(r, 0)).row();
    const FeatureSet::Feature* f = model_->feature(row);
    out += QStringLiteral("%1,%2,%3,%4,%5,%6\r\n")
               .arg(QString::number(f->index), QString::number(f->density, 'g', 9), QString::number(f->max, 'g', 9), QString::number(f->mean, 'g', 9),
                    csvField(model_->label(row)), csvField(model_->tokens(row, 8).join(QLatin1Char(' '))));
  }
  return out;
}

void FeatureSetView::addActions(QMenu& menu) {
  if (feature() < 0) return;
  QAction* examples = menu.addAction(tr("Copy examples of feature %1").arg(feature()), this, [this] { QGuiApplication::clipboard()->setText(dashboard_->csv()); });
  examples->setObjectName(QStringLiteral("copy_examples"));
}

}  // namespace microtome::desktop
