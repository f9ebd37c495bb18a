//! Language, keywords and summaries on small texts.

use serde_json::json;

use super::run;

#[test]
fn languages_are_told_with_names_scripts_and_runners_up() {
    let cases = [
        ("The quick brown fox jumps over the lazy dog and runs away from the hunters.", "eng", "en", "English", "Latin"),
        ("Это обычное русское предложение, написанное для проверки.", "rus", "ru", "Russian", "Cyrillic"),
        ("これは日本語の文章です。ひらがなとカタカナがあります。", "jpn", "ja", "Japanese", "Hiragana"),
        ("هذه جملة باللغة العربية لاختبار التعرف على اللغة", "ara", "ar", "Arabic", "Arabic"),
    ];
    for (text, code, iso1, name, script) in cases {
        let output = run(json!({ "operation": "detect_language", "text": text, "top": 2 }));
        assert_eq!((&output["language"], &output["language_iso1"], &output["name"]), (&json!(code), &json!(iso1), &json!(name)));
        assert_eq!(output["script"], script, "{output}");
        assert_eq!(output["candidates"][0]["language"], code);
        assert_eq!(output["examined_bytes"], text.len());
    }
    let nothing = run(json!({ "operation": "detect_language", "text": "12345 !?" }));
    assert!(nothing["language"].is_null() && nothing["script"].is_null());
    let only = run(json!({ "operation": "detect_language", "text": cases[0].0, "languages": ["de", "fra"] }));
    assert!(["deu", "fra"].contains(&only["language"].as_str().unwrap()));
}

#[test]
fn confidences_of_the_candidates_share_one_and_fall() {
    let texts =
        ["Det er en god dag i dag", "to je dobro", "hola", "The quick brown fox jumps over the lazy dog.", "это хорошо", "東京", "a"];
    for text in texts {
        let output = run(json!({ "operation": "detect_language", "text": text, "top": 20 }));
        let candidates = output["candidates"].as_array().unwrap();
        let confidences: Vec<f64> = candidates.iter().map(|candidate| candidate["confidence"].as_f64().unwrap()).collect();
        assert!(confidences.is_sorted_by(|a, b| a >= b), "{text}: {confidences:?}");
        assert!(confidences.iter().sum::<f64>() <= 1.0 + 1e-9, "{text}: {confidences:?}");
        assert_eq!(output["confidence"], json!(confidences[0]));
    }
}

#[test]
fn a_few_han_characters_are_not_reliably_chinese() {
    for (text, reliable) in [
        ("東京", false),
        ("中国", false),
        ("これは日本語の文章です", true),
        ("สวัสดี", true),
        ("今天天气很好,我们一起去公园散步吧,然后回家吃饭", true),
    ] {
        let output = run(json!({ "operation": "detect_language", "text": text }));
        assert_eq!(output["reliable"], reliable, "{output}");
    }
}

/// Two topics: the first four sentences share words, the last one shares none.
const STORY: &str = "Solar panels turn sunlight into electricity. Electricity from solar panels is stored in batteries. \
    Batteries release stored electricity at night. Sunlight and batteries make solar electricity useful. My aunt bought purple socks yesterday.";

#[test]
fn a_summary_prefers_central_sentences_in_the_order_of_the_text() {
    let output = run(json!({ "operation": "summarize", "text": STORY, "sentences": 3, "redundancy_max": 1.0 }));
    let picked = output["sentences"].as_array().unwrap();
    assert_eq!((picked.len(), &output["sentence_count"], &output["language"]), (3, &json!(5), &json!("en")));
    assert!(picked.iter().all(|sentence| sentence["sentence_idx"] != 4), "{output}");
    assert!(picked.is_sorted_by_key(|sentence| sentence["sentence_idx"].as_u64()));
    for sentence in picked {
        let (start, end) = (sentence["start_byte"].as_u64().unwrap() as usize, sentence["end_byte"].as_u64().unwrap() as usize);
        assert_eq!(&STORY[start..end], sentence["text"].as_str().unwrap());
    }
    let repeated = format!("{0} {0} Cats sleep.", "Dogs bark loudly at night.");
    let output = run(json!({ "operation": "summarize", "text": repeated, "sentences": 3 }));
    assert_eq!(output["sentences"].as_array().unwrap().len(), 2, "the copy is passed over: {output}");
}

/// The same walk with the matrix of cosines written out, as the paper has it.
#[test]
fn centrality_is_that_of_the_full_matrix() {
    let sentences = [["a", "b"], ["b", "c"], ["b", "d"], ["e", "f"]];
    let idf = |word: &str| 1.0 + (4.0 / sentences.iter().filter(|sentence| sentence.contains(&word)).count() as f64).ln();
    let norm = |sentence: &[&str; 2]| sentence.iter().map(|word| idf(word).powi(2)).sum::<f64>().sqrt();
    let cosine = |x: &[&str; 2], y: &[&str; 2]| {
        x.iter().filter(|word| y.contains(word)).map(|word| idf(word).powi(2)).sum::<f64>() / (norm(x) * norm(y))
    };
    let matrix: Vec<Vec<f64>> = sentences.iter().map(|x| sentences.iter().map(|y| cosine(x, y)).collect()).collect();
    let degree: Vec<f64> = matrix.iter().map(|row| row.iter().sum()).collect();
    let mut scores = [0.25; 4];
    for _ in 0..200 {
        let next: Vec<f64> =
            (0..4).map(|v| 0.15 / 4.0 + 0.85 * (0..4).map(|u| matrix[u][v] / degree[u] * scores[u]).sum::<f64>()).collect();
        scores.copy_from_slice(&next);
    }
    let best = scores.iter().copied().fold(0.0, f64::max);
    // Greek has no stop words among these letters and its stemmer leaves Latin ones alone.
    let text = "a b.\n\nb c.\n\nb d.\n\ne f.\n";
    let output = run(json!({ "operation": "summarize", "text": text, "sentences": 4, "language": "ka", "redundancy_max": 1.0 }));
    for (idx, sentence) in output["sentences"].as_array().unwrap().iter().enumerate() {
        assert!((sentence["score"].as_f64().unwrap() - scores[idx] / best).abs() < 1e-6, "{output}");
    }
}

#[test]
fn key_phrases_are_those_of_the_reference_on_prose() {
    let text = "Google is acquiring data science community Kaggle. Sources tell us that Google is acquiring Kaggle, a platform that hosts data \
        science and machine learning competitions. Details about the transaction remain somewhat vague, but given that Google is hosting its Cloud \
        Next conference in San Francisco this week, the official announcement could come as early as tomorrow. Kaggle co-founder Anthony Goldbloom \
        declined to deny that the acquisition is happening. Google itself declined to comment on rumors. Kaggle, which has about half a million data \
        scientists on its platform, was founded by Goldbloom and Ben Hamner in 2010.";
    let stops = yake_rust::StopWords::custom(stop_words::get("en").iter().map(|word| (*word).to_owned()).collect());
    let config = yake_rust::Config { ngrams: 2, ..yake_rust::Config::default() };
    let reference: Vec<String> = yake_rust::get_n_best(12, text, &stops, &config).into_iter().map(|found| found.keyword).collect();
    let output = run(json!({ "operation": "keywords", "text": text, "top": 12, "ngram_max": 2, "language": "en" }));
    let found: Vec<String> =
        output["keywords"].as_array().unwrap().iter().map(|found| found["text"].as_str().unwrap().to_lowercase()).collect();
    assert_eq!(found[0], reference[0]);
    let shared = found.iter().filter(|phrase| reference.contains(phrase)).count();
    assert!(shared >= 10, "{found:?} against {reference:?}");
    assert_eq!(output["language"], "en");
}

#[test]
fn key_phrases_of_a_text_without_spaces_are_words() {
    let text = "機械学習は人工知能の分野です。機械学習のモデルはデータから学習します。データが多いほどモデルは良くなります。";
    let output = run(json!({ "operation": "keywords", "text": text, "top": 5 }));
    assert_eq!(output["language"], "ja");
    let found: Vec<&str> = output["keywords"].as_array().unwrap().iter().map(|found| found["text"].as_str().unwrap()).collect();
    assert!(found.iter().any(|phrase| phrase.contains("学習") || phrase.contains("モデル")), "{found:?}");
}

#[test]
fn frequencies_fold_case_and_leave_stop_words_out() {
    let output = run(json!({ "operation": "word_frequencies", "text": "The cat and the Cat and a dog", "stop_words": "en" }));
    assert_eq!(output["words"][0], json!({ "word": "cat", "count": 2, "share": 2.0 / 3.0 }));
    assert_eq!((&output["counted_words"], &output["distinct_words"]), (&json!(3), &json!(2)));
    let output = run(json!({ "operation": "character_counts", "text": "Aa1 é\u{7}!", "top": 1 }));
    assert_eq!(
        (&output["letters"], &output["digits"], &output["control"], &output["uppercase"]),
        (&json!(3), &json!(1), &json!(1), &json!(1))
    );
}
