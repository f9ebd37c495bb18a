//! The texts of the check: several languages and scripts, one token to about three hundred, code, numbers, signs.

/// What every precision is asked.
pub const TEXTS: [&str; 32] = [
    "a",
    "yes",
    "What is the capital of France?",
    "How do I reset the password of my account?",
    "The quick brown fox jumps over the lazy dog.",
    "Cheap flights from London to Berlin in March",
    "The committee approved the budget after a long debate about the costs of repairing the old bridge.",
    "A man is playing a guitar on the street while two children dance.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen inside the chloroplasts of plants.",
    "I'm not sure whether that's what she'd meant, but it couldn't have been worse!!!",
    "The contract may be terminated by either party with thirty days' written notice, unless a shorter period was agreed upon in writing.",
    "Patients with type 2 diabetes who received metformin had a lower HbA1c after 24 weeks (7.1 % against 7.9 %, p < 0.001).",
    "Der Zug nach München fährt heute von Gleis 7 ab und hat voraussichtlich zwanzig Minuten Verspätung.",
    "Le chat dort sur le canapé pendant que la pluie tombe doucement sur les toits de la ville.",
    "¿Dónde puedo encontrar una farmacia abierta a estas horas de la noche?",
    "O tempo amanhã será nublado com possibilidade de chuva no fim da tarde.",
    "Вчера вечером мы долго гуляли по набережной и говорили о будущем.",
    "今日は天気がいいので、公園で本を読みたいと思います。",
    "人工智能正在改变我们的生活和工作方式。",
    "오늘 저녁에 친구들과 함께 영화를 보러 갈 거예요.",
    "كيف يمكنني الوصول إلى أقرب محطة قطار من هنا؟",
    "मुझे कल सुबह जल्दी उठना है क्योंकि मेरी ट्रेन छह बजे है।",
    "พรุ่งนี้ฉันจะไปตลาดเพื่อซื้อผลไม้และดอกไม้",
    "fn main() {\n    let sum: u64 = (1..=100).filter(|n| n % 3 == 0).sum();\n    println!(\"{sum}\");\n}",
    "def top_k(scores, k):\n    return sorted(range(len(scores)), key=lambda i: -scores[i])[:k]  # ties: lower index first",
    "SELECT name, COUNT(*) FROM orders WHERE created_at >= '2024-01-01' GROUP BY name HAVING COUNT(*) > 10;",
    "3.14159 2.71828 -273.15 1,000,000 0x7fff 1e-9 42 2024-02-29T23:59:60Z",
    "🚀🎉 launch day!!! 😀👍🏽 #shipit @team https://example.org/a?b=c&d=%20e",
    "ERROR 2024-05-17 10:33:21 worker[8117]: connection to 10.0.0.12:5432 refused (os error 111), retrying in 250 ms",
    "Once upon a time, in a village between two rivers, there lived a clockmaker who could hear when a clock was about to stop. People came from far away \
     and put their watches on her table, and she bent down, closed her eyes, and listened. Some she gave back at once; others she kept for a night.",
    "Water boils at 100 degrees Celsius at sea level, but on a high mountain the pressure of the air is lower and so is the temperature at which it boils. \
     That is why rice takes longer to cook there, and why recipes are written differently for kitchens above two thousand metres. A pressure cooker does \
     the opposite: it keeps the steam inside, the pressure rises, and the water gets hotter than it could in an open pot. The same law decides how fast a \
     refrigerator cools, when clouds form, and why a diver must not come up too quickly.",
    "The history of the lighthouse on the northern cape begins with a shipwreck. In the winter of 1783 a merchant vessel bound for the Baltic ran onto the \
     rocks within sight of the village, and nobody could reach her through the surf. The following spring the fishermen wrote to the governor and asked for \
     a light. The answer took eleven years. When the tower was finished it stood thirty metres above the sea, its walls two metres thick at the base, and \
     its lamp burned rapeseed oil, three litres in every night of the winter. The first keeper was a retired sailor named Anders, who wrote down the weather \
     four times a day for twenty-six years; his books are still used by people who study the climate. In 1858 the oil lamp was replaced by a lens of cut \
     glass, in 1903 by a burner for petroleum vapour, and in 1934 by an electric bulb no larger than a fist. The last keeper left in 1981. Since then a \
     small computer switches the light on at dusk and off at dawn, sends a message to the harbour office when something is wrong, and asks for nothing but \
     a new lamp every second year. The house beside the tower is a museum now: in its kitchen one can see the table where the log was written, the clock \
     that was never allowed to be wrong, and on the wall a list of the ninety-one ships that were seen in distress and brought in.",
];

/// Hex sha256 of the texts.
#[must_use]
pub fn digest() -> String {
    super::record::digest_of(&TEXTS)
}
