//! What accounts are told of their downloads that are over, in Korean and English.

use pumasi_api::wire::market::Notice;
use pumasi_core::{Download, DownloadState};
use pumasi_types::DownloadId;

/// What its owner is told of a download, which lies in the space of this name.
pub(crate) fn notice(id: DownloadId, download: &Download, space: &str) -> Notice {
    let Download { spec, brought, trouble, .. } = download;
    let place = format!("{space}:{}", spec.path);
    if !matches!(download.state, DownloadState::Done { .. }) {
        let why = trouble.as_deref().unwrap_or_default();
        return Notice {
            ko: format!("다운로드 {id}번이 실패했습니다: {why}"),
            en: format!("Download {id} failed: {why}"),
        };
    }
    let (files, bytes) = (brought.files, brought.bytes);
    let count = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let (mut ko, mut en) = (
        format!("다운로드 {id}번이 완료되었습니다. 파일 {files}개({bytes})가 {place}에 있습니다."),
        format!("Download {id} is done: {count} ({bytes}) in {place}."),
    );
    if brought.saved.0 > 0 {
        ko += &format!(" 그중 {}는 이미 저장되어 있었습니다.", brought.saved);
        en += &format!(" {} of it were here already.", brought.saved);
    }
    Notice { ko, en }
}

#[cfg(test)]
mod tests {
    use pumasi_core::{Brought, DownloadSource, DownloadSpec};
    use pumasi_types::{AccountId, ByteSize, NoticeId, SpaceId, Time};

    use super::*;

    #[test]
    fn owners_read_this() {
        let spec = DownloadSpec {
            space: SpaceId(1),
            path: "iso".parse().unwrap(),
            named: false,
            source: DownloadSource::Url("https://files.example/a".to_owned()),
            sha256: None,
            limit: ByteSize(0),
            files: Vec::new(),
        };
        let (at, notice_id) = (Time(0), NoticeId(1));
        let brought = |files, saved| Brought { files, bytes: ByteSize(3 << 30), saved: ByteSize(saved) };
        let mut download = Download {
            by: AccountId(1),
            asked: at,
            spec,
            state: DownloadState::Done { at, notice: notice_id },
            tries: 0,
            brought: brought(1, 0),
            trouble: None,
        };
        let told = |download: &Download| {
            let Notice { ko, en } = notice(DownloadId(12), download, "lab");
            [ko, en]
        };
        assert_eq!(
            told(&download),
            [
                "다운로드 12번이 완료되었습니다. 파일 1개(3 GiB)가 lab:iso에 있습니다.",
                "Download 12 is done: 1 file (3 GiB) in lab:iso."
            ]
        );
        download.brought = brought(2_500, 1 << 30);
        assert_eq!(
            told(&download),
            [
                "다운로드 12번이 완료되었습니다. 파일 2500개(3 GiB)가 lab:iso에 있습니다. 그중 1 GiB는 이미 저장되어 있었습니다.",
                "Download 12 is done: 2500 files (3 GiB) in lab:iso. 1 GiB of it were here already."
            ]
        );
        download.state = DownloadState::Failed { at, notice: notice_id };
        download.trouble = Some("files.example answered 404".to_owned());
        assert_eq!(
            told(&download),
            [
                "다운로드 12번이 실패했습니다: files.example answered 404",
                "Download 12 failed: files.example answered 404"
            ]
        );
    }
}
