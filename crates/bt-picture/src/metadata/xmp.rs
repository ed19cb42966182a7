//! XMP packets: descriptions, titles and keywords of Dublin Core.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

/// What the packet says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) descriptions: Vec<String>,
    pub(super) titles: Vec<String>,
    pub(super) keywords: Vec<String>,
}

const DUBLIN_CORE: &str = "http://purl.org/dc/elements/1.1/";

/// Reads a packet up to where it stops making sense.
pub(super) fn read(packet: &[u8]) -> Facts {
    let packet = String::from_utf8_lossy(packet);
    let mut facts = Facts::default();
    let mut reader = NsReader::from_str(packet.trim_end_matches('\0'));
    // Within a property: which, how deep, and the text of the item that is being read.
    let mut open: Option<(Property, usize)> = None;
    let mut item = String::new();
    while let Ok((namespace, event)) = reader.read_resolved_event() {
        match event {
            Event::Start(start) => match &mut open {
                Some((_, depth)) => {
                    *depth += 1;
                    item.clear();
                }
                None => {
                    open = property(&namespace, &start).map(|property| (property, 0));
                    item.clear();
                }
            },
            Event::Text(text) if open.is_some() => item.push_str(&text.xml10_content()),
            Event::CData(text) if open.is_some() => item.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if open.is_some() => {
                if let Ok(Some(character)) = reference.resolve_char_ref() {
                    item.push(character);
                } else if let Some(text) =
                    quick_xml::escape::resolve_predefined_entity(&reference.xml10_content())
                {
                    item.push_str(text);
                }
            }
            Event::End(_) => {
                if let Some((property, depth)) = &mut open {
                    facts.add(*property, std::mem::take(&mut item));
                    match depth.checked_sub(1) {
                        Some(less) => *depth = less,
                        None => open = None,
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    facts
}

#[derive(Clone, Copy)]
enum Property {
    Description,
    Title,
    Subject,
}

fn property(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Option<Property> {
    if *namespace != ResolveResult::Bound(Namespace(DUBLIN_CORE)) {
        return None;
    }
    match start.local_name().as_ref() {
        "description" => Some(Property::Description),
        "title" => Some(Property::Title),
        "subject" => Some(Property::Subject),
        _ => None,
    }
}

impl Facts {
    fn add(&mut self, property: Property, text: String) {
        if text.trim().is_empty() {
            return;
        }
        match property {
            Property::Description => self.descriptions.push(text),
            Property::Title => self.titles.push(text),
            Property::Subject => self.keywords.push(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:d="http://purl.org/dc/elements/1.1/" xmlns:e="http://example.org/">
<d:description><rdf:Alt><rdf:li xml:lang="x-default">A cat &amp; a dog, caf&#233;</rdf:li>
<rdf:li xml:lang="de">Katze und Hund</rdf:li></rdf:Alt></d:description>
<e:description>of something else</e:description>
<d:subject><rdf:Bag><rdf:li>cat</rdf:li><rdf:li>dog</rdf:li></rdf:Bag></d:subject>
<d:title>Friends</d:title>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;

    #[test]
    fn dublin_core_is_found_by_namespace() {
        let facts = read(PACKET.as_bytes());
        assert_eq!(
            facts.descriptions,
            ["A cat & a dog, caf\u{e9}", "Katze und Hund"]
        );
        assert_eq!(facts.keywords, ["cat", "dog"]);
        assert_eq!(facts.titles, ["Friends"]);
    }

    #[test]
    fn a_packet_that_is_cut_gives_what_came_before() {
        for length in 0..PACKET.len() {
            read(&PACKET.as_bytes()[..length]);
        }
        let facts = read(&PACKET.as_bytes()[..PACKET.find("<d:title>").unwrap()]);
        assert_eq!(facts.keywords, ["cat", "dog"]);
        assert!(facts.titles.is_empty());
    }
}
