#include "app/desktop/views/view.h"

#include <QBuffer>
#include <QClipboard>
#include <QContextMenuEvent>
#include <QDir>
#include <QFileDialog>
#include <QGuiApplication>
#include <QMenu>
#include <QPainter>
#include <QSaveFile>
#include <QSvgGenerator>
#include <cmath>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

const char* suffixOf(View::Format f) {
  switch (f) {
    case View::Format::kPng: return "png";
    case View::Format::kSvg: return "svg";
    default: return "csv";
  }
}

// A file name made of a title: what some file system refuses becomes '_'.
QString fileName(const QString& title) {
  QString out;
  for (QChar c : title.left(80)) out += c.isLetterOrNumber() || c == QLatin1Char('-') || c == QLatin1Char('.') ? c : QLatin1Char('_');
  while (out.startsWith(QLatin1Char('.'))) out.remove(0, 1);
  return out.isEmpty() ? QStringLiteral("picture") : out;
}

}  // namespace

View::View(QWidget* parent) : QWidget(parent) {}

void View::setTitle(const QString& title) {
  title_ = title;
  setAccessibleName(title);
}

void View::setCommand(const QString& command) { command_ = command; }

void View::setSource(qint64 runId, const QString& artifact) {
  run_ = runId;
  artifact_ = artifact;
}

void View::drawPicture(QPainter& painter, const QSizeF& size) const {
  auto* self = const_cast<View*>(this);
  if (width() <= 0 || height() <= 0) return;
  painter.save();
  painter.scale(size.width() / width(), size.height() / height());
  self->render(&painter, QPoint(), QRegion(), QWidget::DrawChildren);
  painter.restore();
}

QSizeF View::pictureSize() const { return QSizeF(size()).expandedTo(QSizeF(160, 120)); }

QImage View::image(double scale) const {
  const QSizeF logical = pictureSize();
  // A picture of more than 64 million pixels is nobody's figure.
  scale = std::min(scale, std::sqrt(6.4e7 / std::max(1.0, logical.width() * logical.height())));
  QImage out((logical * scale).toSize().expandedTo(QSize(1, 1)), QImage::Format_ARGB32_Premultiplied);
  out.fill(Theme::of(this).surface);
  QPainter painter(&out);
  painter.setRenderHint(QPainter::Antialiasing);
  painter.scale(scale, scale);
  drawPicture(painter, logical);
  return out;
}

QByteArray View::svg() const {
  QByteArray bytes;
  QBuffer buffer(&bytes);
  const QSizeF logical = pictureSize();
  QSvgGenerator generator;
  generator.setOutputDevice(&buffer);
  generator.setSize(logical.toSize());
  generator.setViewBox(QRectF(QPointF(), logical));
  generator.setTitle(title_);
  generator.setDescription(command_);
  QPainter painter(&generator);
  painter.fillRect(QRectF(QPointF(), logical), Theme::of(this).surface);
  drawPicture(painter, logical);
  painter.end();
  return bytes;
}

bool View::save(const QString& path, Format format, QString* why) const {
  QByteArray bytes;
  if (format == Format::kPng) {
    QBuffer buffer(&bytes);
    buffer.open(QIODevice::WriteOnly);
    image().save(&buffer, "PNG");
  } else if (format == Format::kSvg) {
    bytes = svg();
  } else {
    bytes = csv().toUtf8();
    if (bytes.isEmpty()) {
      if (why) *why = tr("This picture has no numbers to save: choose PNG or SVG.");
      return false;
    }
  }
  // Written beside and moved into place: a full disk leaves the older file whole.
  QSaveFile file(path);
  if (!file.open(QIODevice::WriteOnly) || file.write(bytes) != bytes.size() || !file.commit()) {
    if (why) *why = tr("%1 can't be written (%2): choose another place.").arg(QDir::toNativeSeparators(path), file.errorString());
    return false;
  }
  return true;
}

void View::saveAs(Format format) {
  const QString suffix = QString::fromLatin1(suffixOf(format));
  const QString path = QFileDialog::getSaveFileName(this, tr("Save %1").arg(title_), fileName(title_) + QLatin1Char('.') + suffix,
                                                    suffix.toUpper() + QStringLiteral(" (*.") + suffix + QLatin1Char(')'));
  if (path.isEmpty()) return;
  QString why;
  const bool good = save(path, format, &why);
  Q_EMIT message(good ? tr("Saved %1").arg(QDir::toNativeSeparators(path)) : why, !good);
}

QMenu* View::makeMenu(QWidget* parent) {
  auto* menu = new QMenu(parent);
  const QList<Format> all = formats();
  for (Format f : all)
    menu->addAction(tr("Save as %1…").arg(QString::fromLatin1(suffixOf(f)).toUpper()), this, [this, f] { saveAs(f); })
        ->setObjectName(QStringLiteral("save_") + QString::fromLatin1(suffixOf(f)));
  menu->addSeparator();
  menu->addAction(tr("Copy picture"), this, [this] { QGuiApplication::clipboard()->setImage(image()); });
  QAction* numbers = menu->addAction(tr("Copy numbers"), this, [this] { QGuiApplication::clipboard()->setText(csv()); });
  numbers->setEnabled(all.contains(Format::kCsv));
  QAction* copy = menu->addAction(tr("Copy as command"), this, [this] { QGuiApplication::clipboard()->setText(command_); });
  copy->setObjectName(QStringLiteral("copy_command"));
  copy->setEnabled(!command_.isEmpty());
  copy->setToolTip(command_);
  QAction* note = menu->addAction(tr("Add note…"), this, [this] { Q_EMIT noteWanted(run_, artifact_); });
  note->setEnabled(run_ != 0);
  const qsizetype before = menu->actions().size();
  addActions(*menu);
  if (menu->actions().size() > before) menu->insertSeparator(menu->actions().at(before));
  return menu;
}

void View::contextMenuEvent(QContextMenuEvent* event) {
  QMenu* menu = makeMenu(this);
  menu->setAttribute(Qt::WA_DeleteOnClose);
  menu->popup(event->globalPos());
  event->accept();
}

}  // namespace microtome::desktop
